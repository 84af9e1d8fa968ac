"""The taxonomy: each type with its pattern, validator, column-name evidence and label.

Patterns are RE2: linear time whatever the input. A *weak* type matches too much by itself and
counts only where the column's name, or a word before the match, says the same.
"""

from vallum.privacy import validators as check
from vallum.privacy.kind import Kind
from vallum.privacy.national import NATIONAL
from vallum.schema import Label

_HIGH = Label.HIGHLY_CONFIDENTIAL
_PERSONAL = Label.CONFIDENTIAL


_CALL = (
    r"(?i:phone|mobile|mobil|\bcall|\bcell|\btel(?:\b|:|efon|éfono|efone)|t[ée]l[ée]phone|\bfax|office|"
    r"reach|contact|answering|whatsapp|\btext (?:me|us)|hotline|dial|ring (?:me|us)|numéro|rufnummer|"
    r"\bph(?:one)?[.:#]|\bsms\b|handy|landline|voicemail|extension|\bext\b)"
)
_WORD = r"(?i:pass(?:word|wd|phrase)?|pwd|secret|api[_-]?key|access[_-]?key|auth[_-]?token|client[_-]?secret)"

_CLOSING = ".,;:!?)]}>'\"”’»…"

_OWN: tuple[Kind, ...] = (
    Kind("personal.email", r"[A-Za-z0-9._%+'-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24}",
         names=r"e-?mail"),
    Kind("personal.phone", r"\+?(?:\(?\d{1,4}\)?[ .-]?){2,6}\d{2,4}(?: ?(?:x|ext\.?) ?\d{1,6})?",
         check.phone, r"phone|mobile|telephone|\btel\b|fax|cell", weak=True, context=_CALL, after=True),
    Kind("personal.phone", r"(?:\+\d{1,3}[ .-]?\(?\d{1,4}\)?(?:[ .-]?\d{2,4}){2,4}|"
         r"\(\d{3}\) ?\d{3}-\d{4}|\d{3}[.-]\d{3}[.-]\d{4})(?: ?(?:x|ext\.?) ?\d{1,6})?", check.phone),
    Kind("personal.name", r"\p{Lu}[\p{L}'’.-]+(?:[ ,]+\p{Lu}[\p{L}'’.-]*){0,4}",
         names=r"(?:^|_|\b)(?:full_?|first_?|last_?|given_?|family_?|middle_?|sur|fore)?name$|patient_name|"
         r"\bcustomer$|^(?:vor|nach)name$|^pr[ée]nom$|^apellidos?$|^cognome$", weak=True),
    Kind("personal.birth_date", r"(?:\d{4}-\d{2}-\d{2}|\d{1,2}[./-]\d{1,2}[./-]\d{2,4})(?:[T ].*)?",
         names=r"birth|\bdob\b|date_of_birth|geburt|naissance", weak=True, direct=False, quasi=True, context=r"(?i:\bborn\b|birth|\bdob\b|geboren|naissance|nacid|nato il)"),
    Kind("personal.address", r"(?:\d{1,5}[A-Za-z]? [\p{L} .'-]{3,30}|[\p{L} .'-]{3,30} \d{1,5}[A-Za-z]?)"
         r"(?:[ ,].*)?", names=r"address|street|addr\b|strasse", weak=True),
    Kind("personal.postcode", r"\d{4,5}(?:-\d{4})?|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|[A-Z]\d[A-Z] ?\d[A-Z]\d",
         names=r"post_?code|zip|plz|postal", weak=True, direct=False, quasi=True),
    Kind("personal.age", r"\d{1,3}(?:\.0)?", names=r"^age$|_age$|^alter$", weak=True, direct=False,
         quasi=True),
    Kind("personal.gender", r"(?i:male|female|m|f|x|other|non-binary|diverse)",
         names=r"gender|^sex$", weak=True, direct=False, quasi=True),
    Kind("government.us.ssn", r"\d{3} ?- ?\d{2} ?- ?\d{4}|\d{3} \d{2} \d{4}", check.ssn, label=_HIGH),
    Kind("government.us.ssn", r"\d(?: ?\d){8}", check.ssn, r"ssn|social_?sec", _HIGH, weak=True, context=r"(?i:\bssn\b|social security)"),
    Kind("government.us.passport", r"[A-Z]?\d{8,9}", names=r"passport", label=_HIGH, weak=True, context=r"(?i:passport|reisepass|passeport|pasaporte)"),
    Kind("government.us.driver_license", r"[A-Z]{1,2}\d{5,12}", names=r"driver|licen[cs]e", label=_HIGH,
         weak=True, context=r"(?i:driver|licen[cs]e)"),
    Kind("government.uk.nhs", r"\d{3}[ -]\d{3}[ -]\d{4}", check.nhs, label=_HIGH),
    Kind("government.uk.nhs", r"\d{10}", check.nhs, r"nhs", _HIGH, weak=True, context=r"(?i:\bnhs\b)"),
    Kind("government.uk.nino", r"(?i:[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D])",
         label=_HIGH),
    Kind("government.in.aadhaar", r"\d{4}[ -]\d{4}[ -]\d{4}", check.aadhaar, label=_HIGH),
    Kind("government.in.aadhaar", r"\d{12}", check.aadhaar, r"aadhaar|aadhar|uid", _HIGH, weak=True),
    Kind("government.ca.sin", r"\d{3}[ -]\d{3}[ -]\d{3}", check.sin, label=_HIGH),
    Kind("government.br.cpf", r"\d{3}\.\d{3}\.\d{3}-\d{2}", check.cpf, label=_HIGH),
    Kind("government.nl.bsn", r"\d{9}", check.bsn, r"bsn|burgerservice", _HIGH, weak=True),
    Kind("government.fr.nir", r"[12] ?\d{2} ?\d{2} ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}", check.nir, label=_HIGH),
    Kind("financial.card", r"\d(?:(?: - |[ -])?\d){12,18}", check.card, label=_HIGH),
    Kind("financial.iban", r"(?i:[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{2,4}){3,8})", check.iban, label=_HIGH),
    Kind("financial.us.aba", r"\d{9}", check.aba, r"routing|\baba\b", _HIGH, weak=True, context=r"(?i:routing|\baba\b)"),
    Kind("financial.swift", r"[A-Z]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?", names=r"swift|\bbic\b", weak=True, context=r"(?i:swift|\bbic\b)"),
    Kind("financial.account", r"\d{6,17}", names=r"account_?(?:no|num|id)|kontonummer", label=_HIGH, weak=True, context=r"(?i:account (?:no|num|#)|kontonummer|acct)"),
    Kind("health.us.npi", r"[12]\d{9}", check.npi, r"npi|provider", weak=True, context=r"(?i:\bnpi\b)"),
    Kind("health.mrn", r"[A-Z]{0,4}[- ]?\d{5,12}", names=r"\bmrn\b|medical_?record|patient_?(?:id|no|num)",
         label=_HIGH, weak=True, context=r"(?i:\bmrn\b|medical record|patient (?:id|no|number))"),
    Kind("network.ip", r"(?:\d{1,3}\.){3}\d{1,3}|(?i:[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7})",
         check.ip_address, direct=True, unless=r"^-[A-Za-z]"),
    Kind("network.mac", r"(?i:[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5})"),
    Kind("network.url", r"(?i:www\.[A-Z0-9-]+(?:\.[A-Z0-9-]+)+(?:/[^\s<>'\"]*)?)", label=Label.GENERAL,
         direct=False, trim=_CLOSING),
    Kind("network.url", r"(?i:https?://[^\s<>'\"]+)", label=Label.GENERAL, direct=False, trim=_CLOSING),
    Kind("security.private_key", r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----(?s:.*)", label=_HIGH),
    Kind("security.token.aws", r"(?:AKIA|ASIA)[A-Z0-9]{16}", label=_HIGH),
    Kind("security.token.github", r"gh[pousr]_[A-Za-z0-9]{36,}", label=_HIGH),
    Kind("security.token.slack", r"xox[abprs]-[A-Za-z0-9-]{10,}", label=_HIGH),
    Kind("security.token.jwt", r"eyJ[A-Za-z0-9_-]+\.eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", label=_HIGH),
    Kind("security.token.google", r"AIza[0-9A-Za-z_-]{35}", label=_HIGH),
    Kind("security.token.stripe", r"[rs]k_(?:live|test)_[0-9A-Za-z]{16,99}", label=_HIGH),
    Kind("security.token.openai", r"sk-(?:proj-|ant-)?[A-Za-z0-9_-]{20,200}", label=_HIGH),
    Kind("security.token.gitlab", r"glpat-[0-9A-Za-z_-]{20,64}", label=_HIGH),
    Kind("security.token.npm", r"npm_[0-9A-Za-z]{36}", label=_HIGH),
    Kind("security.token.pypi", r"pypi-[0-9A-Za-z_-]{50,300}", label=_HIGH),
    Kind("security.token.sendgrid", r"SG\.[0-9A-Za-z_-]{16,32}\.[0-9A-Za-z_-]{16,64}", label=_HIGH),
    Kind("security.token.huggingface", r"hf_[A-Za-z0-9]{30,40}", label=_HIGH),
    Kind("security.token.telegram", r"\d{8,10}:AA[0-9A-Za-z_-]{33}", label=_HIGH),
    Kind("security.password", _WORD + r"[\"']? ?[:=] ?[\"']?([^\s\"',;]{6,128})", label=_HIGH, group=1),
    Kind("location.coordinates", r"[-+]?\d{1,2}\.\d{4,12}, ?[-+]?\d{1,3}\.\d{4,12}",
         names=r"coord|lat_?l|geo", direct=False, quasi=True),
    Kind("location.city", r"\p{L}[\p{L}'’. -]{1,60}", names=r"(?:^|_|\b)(?:city|town|municipality|"
         r"birth_?place|ort|stadt|wohnort|ville|ciudad|citt[àa])(?:$|_|\b)", direct=False, quasi=True,
         weak=True),
    Kind("location.country", r"\p{L}[\p{L}'’.,&() -]{1,60}", names=r"(?:^|_|\b)(?:country|nation|land|"
         r"pays|pa[ií]s|paese|nationality)(?:$|_|\b)", direct=False, quasi=True, weak=True),
    Kind("location.place", r"\p{L}[\p{L}'’.,&() -]{1,60}", names=r"^(?:place|location|county|province|"
         r"region)$", direct=False, quasi=True, weak=True),
    Kind("health.us.mbi", r"[1-9][AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?[AC-HJKMNP-RT-Y]"
         r"[AC-HJKMNP-RT-Y0-9]\d-?[AC-HJKMNP-RT-Y]{2}\d{2}", names=r"\bmbi\b|medicare", label=_HIGH),
    Kind("health.us.dea", r"[A-Z]{2}\d{7}", check.dea, r"\bdea\b", _HIGH, weak=True,
         context=r"(?i:\bdea\b)"),
    Kind("security.token.vallum", r"vlm_[0-9a-z]{26}_[0-9a-z]{59}", label=_HIGH),
    Kind("crypto.btc", r"bc1[ac-hj-np-z02-9]{11,71}|[13][1-9A-HJ-NP-Za-km-z]{25,34}", names=r"btc|bitcoin",
         weak=False),
    Kind("crypto.eth", r"0x[0-9a-fA-F]{40}"),
    Kind("vehicle.vin", r"(?i:[A-HJ-NPR-Z0-9]{17})", check.vin),
)  # fmt: skip

KINDS: tuple[Kind, ...] = (*_OWN, *NATIONAL)
