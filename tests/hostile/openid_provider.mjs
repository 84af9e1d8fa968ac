// An OpenID provider on loopback for tests: `node openid_provider.mjs PORT`. Client credentials
// give JWT access tokens (RFC 9068) for the audience that is asked for.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(process.env.OIDC_MODULES + "/");
const { default: Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));
const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients: [{
    client_id: "robot", client_secret: "robot-secret", grant_types: ["client_credentials"],
    redirect_uris: [], response_types: [], token_endpoint_auth_method: "client_secret_post",
  }],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => "https://vallum.test",
      getResourceServerInfo: (_context, resource) => ({
        scope: "score", audience: resource, accessTokenFormat: "jwt", accessTokenTTL: 300,
        jwt: { sign: { alg: "RS256" } },
      }),
    },
  },
});
const server = provider.listen(port, "127.0.0.1", () => console.log("ready"));
process.stdin.on("end", () => { server.close(); process.exit(0); }).resume();
