"""A network between domains: frames, the switch they meet on, and what filters, limits and records them."""

from paravane.devices.net.addresses import format_mac, numbered_mac, parse_mac
from paravane.devices.net.errors import NetError, OffloadError
from paravane.devices.net.firewall import Firewall, Identity, Rule, Verdict
from paravane.devices.net.frame import Frame
from paravane.devices.net.offloads import EVERYTHING, NOTHING, Offloads, fit
from paravane.devices.net.rate import Credit, Rate, parse_rate
from paravane.devices.net.rule_syntax import parse_rule
from paravane.devices.net.switch import Counts, Port, Station, Switch

__all__ = [
    "EVERYTHING",
    "NOTHING",
    "Counts",
    "Credit",
    "Firewall",
    "Frame",
    "Identity",
    "NetError",
    "OffloadError",
    "Offloads",
    "Port",
    "Rate",
    "Rule",
    "Station",
    "Switch",
    "Verdict",
    "fit",
    "format_mac",
    "numbered_mac",
    "parse_mac",
    "parse_rate",
    "parse_rule",
]
