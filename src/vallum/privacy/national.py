"""Identifiers that states and registries give out, each with the check that its issuer published.

The checks are python-stdnum's (see its module of each number for the source). A number without a
form of its own (only digits) is weak: it needs a word beside it, or the column's name.
"""

from stdnum import imei, isin, lei
from stdnum.ar import cuit
from stdnum.at import vnr
from stdnum.au import abn, tfn
from stdnum.be import nn
from stdnum.bg import egn
from stdnum.br import cnpj
from stdnum.ch import ssn as ahv
from stdnum.cl import rut
from stdnum.cn import ric
from stdnum.cz import rc
from stdnum.de import idnr as steuer_id
from stdnum.dk import cpr
from stdnum.ee import ik
from stdnum.es import dni, nie
from stdnum.fi import hetu
from stdnum.gr import amka
from stdnum.hr import oib
from stdnum.id import nik
from stdnum.ie import pps
from stdnum.il import idnr as teudat
from stdnum.in_ import pan
from stdnum.it import codicefiscale
from stdnum.kr import rrn
from stdnum.lt import asmens
from stdnum.mx import curp
from stdnum.my import nric
from stdnum.no import fodselsnummer
from stdnum.nz import ird
from stdnum.pk import cnic
from stdnum.pl import pesel
from stdnum.pt import nif
from stdnum.ro import cnp
from stdnum.se import personnummer
from stdnum.si import emso
from stdnum.th import pin
from stdnum.tr import tckimlik
from stdnum.us import itin
from stdnum.za import idnr as za_id

from vallum.privacy.kind import Kind
from vallum.schema import Label

_HIGH = Label.HIGHLY_CONFIDENTIAL

NATIONAL: tuple[Kind, ...] = (
    Kind("government.us.itin", r"9\d{2}-\d{2}-\d{4}", itin.is_valid, r"\bitin\b", _HIGH),
    Kind("government.us.ein", r"\d{2}-\d{7}", names=r"\bein\b|employer_?id", label=_HIGH, weak=True,
         context=r"(?i:\bein\b|employer id)"),
    Kind("government.es.dni", r"\d{8}-?[A-HJ-NP-TV-Z]", dni.is_valid, r"\bdni\b|\bnif\b", _HIGH),
    Kind("government.es.nie", r"[XYZ]-?\d{7}-?[A-Z]", nie.is_valid, r"\bnie\b", _HIGH),
    Kind("government.it.codice_fiscale", r"(?i:[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z])",
         codicefiscale.is_valid, r"codice_?fiscale|\bcf\b", _HIGH),
    Kind("government.pt.nif", r"\d{3} ?\d{3} ?\d{3}", nif.is_valid, r"\bnif\b|contribuinte", _HIGH,
         weak=True, context=r"(?i:\bnif\b|contribuinte)"),
    Kind("government.pl.pesel", r"\d{11}", pesel.is_valid, r"pesel", _HIGH, weak=True,
         context=r"(?i:pesel)"),
    Kind("government.se.personnummer", r"(?:19|20)?\d{6}[-+]\d{4}", personnummer.is_valid,
         r"personn(?:umme)?r", _HIGH),
    Kind("government.fi.hetu", r"\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]", hetu.is_valid,
         r"hetu|henkil", _HIGH),
    Kind("government.no.fodselsnummer", r"\d{6} ?\d{5}", fodselsnummer.is_valid,
         r"f(?:ø|o|oe)dselsn", _HIGH, weak=True, context=r"(?i:f(?:ø|o|oe)dselsn|personnummer)"),
    Kind("government.dk.cpr", r"\d{6}-\d{4}", cpr.is_valid, r"\bcpr\b", _HIGH, weak=True,
         context=r"(?i:\bcpr\b)"),
    Kind("government.be.nrn", r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", nn.is_valid,
         r"rijksregister|registre_?national|\bnrn\b", _HIGH),
    Kind("government.ch.ahv", r"756\.?\d{4}\.?\d{4}\.?\d{2}", ahv.is_valid, r"\bahv\b|\bavs\b", _HIGH),
    Kind("government.at.svnr", r"\d{4} ?\d{6}", vnr.is_valid, r"svnr|sozialvers", _HIGH, weak=True,
         context=r"(?i:svnr|sozialversicherung)"),
    Kind("government.de.steuer_id", r"\d{2} ?\d{3} ?\d{3} ?\d{3}", steuer_id.is_valid,
         r"steuer_?id|idnr", _HIGH, weak=True, context=r"(?i:steuer|id-?nr|identifikationsnummer)"),
    Kind("government.ie.pps", r"\d{7}[A-W][A-IW]?", pps.is_valid, r"\bpps", _HIGH),
    Kind("government.tr.tckn", r"[1-9]\d{10}", tckimlik.is_valid, r"\btc(?:kn|_?kimlik)", _HIGH,
         weak=True, context=r"(?i:\btc\b|kimlik)"),
    Kind("government.za.id", r"\d{13}", za_id.is_valid, r"id_?n(?:o|um)|\bza_?id", _HIGH, weak=True,
         context=r"(?i:\bid\b|identity)"),
    Kind("government.in.pan", r"[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]", pan.is_valid, r"\bpan\b", _HIGH),
    Kind("government.cn.ric", r"[1-9]\d{16}[\dXx]", ric.is_valid, r"shenfen|\bric\b|id_?card", _HIGH),
    Kind("government.kr.rrn", r"\d{6}-[1-8]\d{6}", rrn.is_valid, r"\brrn\b|jumin", _HIGH),
    Kind("government.mx.curp", r"[A-Z]{4}\d{6}[HM][A-Z]{5}[A-Z0-9]\d", curp.is_valid, r"\bcurp\b",
         _HIGH),
    Kind("government.ar.cuit", r"\d{2}-\d{8}-\d", cuit.is_valid, r"cui[tl]", _HIGH),
    Kind("government.cl.rut", r"\d{1,2}\.\d{3}\.\d{3}-[\dkK]", rut.is_valid, r"\bru[tn]\b", _HIGH),
    Kind("government.br.cnpj", r"\d{2}\.\d{3}\.\d{3}/\d{4}-\d{2}", cnpj.is_valid, r"cnpj"),
    Kind("government.au.tfn", r"\d{3} ?\d{3} ?\d{2,3}", tfn.is_valid, r"\btfn\b|tax_?file", _HIGH,
         weak=True, context=r"(?i:\btfn\b|tax file)"),
    Kind("government.au.abn", r"\d{2} ?\d{3} ?\d{3} ?\d{3}", abn.is_valid, r"\babn\b", weak=True,
         context=r"(?i:\babn\b)"),
    Kind("government.nz.ird", r"\d{2,3}-?\d{3}-?\d{3}", ird.is_valid, r"\bird\b", _HIGH, weak=True,
         context=r"(?i:\bird\b)"),
    Kind("government.il.teudat_zehut", r"\d{9}", teudat.is_valid, r"teudat|zehut", _HIGH, weak=True,
         context=r"(?i:teudat|zehut)"),
    Kind("government.ro.cnp", r"[1-9]\d{12}", cnp.is_valid, r"\bcnp\b", _HIGH, weak=True,
         context=r"(?i:\bcnp\b)"),
    Kind("government.cz.rc", r"\d{6}/\d{3,4}", rc.is_valid, r"rodn", _HIGH),
    Kind("government.bg.egn", r"\d{10}", egn.is_valid, r"\begn\b", _HIGH, weak=True,
         context=r"(?i:\begn\b|егн)"),
    Kind("government.ee.ik", r"[1-8]\d{10}", ik.is_valid, r"isikukood", _HIGH, weak=True,
         context=r"(?i:isikukood)"),
    Kind("government.lt.ak", r"[3-6]\d{10}", asmens.is_valid, r"asmens", _HIGH, weak=True,
         context=r"(?i:asmens)"),
    Kind("government.hr.oib", r"\d{11}", oib.is_valid, r"\boib\b", _HIGH, weak=True,
         context=r"(?i:\boib\b)"),
    Kind("government.si.emso", r"\d{13}", emso.is_valid, r"emso|emšo", _HIGH, weak=True,
         context=r"(?i:em[sš]o)"),
    Kind("government.gr.amka", r"\d{11}", amka.is_valid, r"amka", _HIGH, weak=True,
         context=r"(?i:amka)"),
    Kind("government.th.pin", r"\d-\d{4}-\d{5}-\d{2}-\d", pin.is_valid, r"thai_?id", _HIGH),
    Kind("government.my.nric", r"\d{6}-\d{2}-\d{4}", nric.is_valid, r"\bnric\b|mykad", _HIGH),
    Kind("government.id.nik", r"\d{16}", nik.is_valid, r"\bnik\b", _HIGH, weak=True,
         context=r"(?i:\bnik\b)"),
    Kind("government.pk.cnic", r"\d{5}-\d{7}-\d", cnic.is_valid, r"cnic", _HIGH),
    Kind("device.imei", r"\d{2}[- ]?\d{6}[- ]?\d{6}[- ]?\d", imei.is_valid, r"imei", weak=True,
         context=r"(?i:imei)"),
    Kind("financial.isin", r"[A-Z]{2}[A-Z0-9]{9}\d", isin.is_valid, r"isin", Label.GENERAL,
         direct=False),
    Kind("organization.lei", r"[A-Z0-9]{18}\d{2}", lei.is_valid, r"\blei\b", Label.GENERAL,
         direct=False),
)  # fmt: skip
