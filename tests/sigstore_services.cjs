// Sigstore's services on loopback: the Sigstore project's own mock of Fulcio, its certificate log
// and Rekor (npm: @sigstore/mock), behind one HTTP server. Prints its client trust configuration.
"use strict";
const crypto = require("crypto");
const http = require("http");
const mock = require("@sigstore/mock");

const sha256 = (data) => crypto.createHash("sha256").update(data).digest("hex");

function keys(curve) {
  return crypto.generateKeyPairSync("ec", { namedCurve: curve });
}

// Rekor keeps digests of a DSSE envelope; the mock keeps whatever it is given.
function recorded(proposed) {
  const { envelope, verifiers } = proposed.spec.proposedContent;
  const held = JSON.parse(envelope);
  return {
    apiVersion: "0.0.1",
    kind: "dsse",
    spec: {
      envelopeHash: { algorithm: "sha256", value: sha256(envelope) },
      payloadHash: { algorithm: "sha256", value: sha256(Buffer.from(held.payload, "base64")) },
      signatures: held.signatures.map((one) => ({ signature: one.sig, verifier: verifiers[0] })),
    },
  };
}

async function main() {
  const server = http.createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  const logKeys = keys("prime256v1");
  const ctlog = await mock.initializeCTLog(keys("prime256v1"));
  const ca = await mock.initializeCA(keys("secp384r1"), ctlog);
  const tlog = await mock.initializeTLog(url, logKeys);
  const fulcio = mock.fulcioHandler(ca, { strict: true });
  const rekor = mock.rekorHandler(tlog, { strict: true });
  server.on("request", (request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", async () => {
      let body = Buffer.concat(parts).toString();
      let handler;
      if (request.url === fulcio.path) {
        // The mock reads the token from the body, as older clients send it.
        const token = (request.headers.authorization || "").replace("Bearer ", "");
        body = JSON.stringify({ ...JSON.parse(body), credentials: { oidcIdentityToken: token } });
        const asked = JSON.parse(body);
        asked.certificateSigningRequest = Buffer.from(
          asked.certificateSigningRequest, "base64").toString();
        body = JSON.stringify(asked);
        handler = fulcio.fn;
      } else if (request.url === rekor.path) {
        body = JSON.stringify(recorded(JSON.parse(body)));
        handler = rekor.fn;
      } else {
        response.writeHead(404).end();
        return;
      }
      const made = await handler(body);
      response.writeHead(made.statusCode, { "Content-Type": made.contentType || "text/plain" });
      response.end(made.response);
    });
  });
  const validFor = { start: "2020-01-01T00:00:00Z" };
  const log = (publicKey) => ({
    baseUrl: url,
    hashAlgorithm: "SHA2_256",
    publicKey: {
      rawBytes: publicKey.toString("base64"), keyDetails: "PKIX_ECDSA_P256_SHA_256", validFor,
    },
    logId: { keyId: crypto.createHash("sha256").update(publicKey).digest("base64") },
  });
  const service = { url, majorApiVersion: 1, validFor, operator: "loopback" };
  process.stdout.write(JSON.stringify({
    mediaType: "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
    trustedRoot: {
      mediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
      tlogs: [log(tlog.publicKey)],
      certificateAuthorities: [{
        subject: { organization: "sigstore.mock", commonName: "sigstore" },
        uri: url,
        certChain: {
          certificates: [{ rawBytes: Buffer.from(ca.rootCertificate).toString("base64") }],
        },
        validFor,
      }],
      ctlogs: [log(ctlog.publicKey)],
      timestampAuthorities: [],
    },
    signingConfig: {
      mediaType: "application/vnd.dev.sigstore.signingconfig.v0.2+json",
      caUrls: [service],
      oidcUrls: [],
      rekorTlogUrls: [service],
      rekorTlogConfig: { selector: "ANY" },
      tsaUrls: [],
      tsaConfig: { selector: "ANY" },
    },
  }) + "\n");
  process.stdin.on("end", () => process.exit(0)).resume();  // ends with whoever started it
}

main();
