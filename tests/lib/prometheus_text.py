"""tests/lib/prometheus_text.py - reads the text format of Prometheus and refuses what it does not allow."""
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf"^({NAME})(?:\{{(.*)\}})? (\S+)$")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')


class Family:
    def __init__(self, name, kind):
        self.name, self.kind = name, kind


class Metrics:
    def __init__(self):
        self.families, self.samples = {}, {}

    def has(self, name):
        return any(n == name for n, _ in self.samples)

    def one(self, name, **labels):
        return self.samples[name, tuple(sorted(labels.items()))]

    def counters(self):
        return {k: v for k, v in self.samples.items() if self.families[k[0]].kind == "counter"}


def labels_of(text):
    found, at = [], 0
    while at < len(text):
        m = LABEL.match(text, at)
        assert m, f"labels: {text[at:]}"
        found.append((m.group(1), m.group(2)))
        at = m.end()
    assert len({k for k, _ in found}) == len(found), f"a label twice: {text}"
    return tuple(sorted(found))


def parse(text):
    """Every family has HELP and TYPE before its samples, all of which follow at once."""
    assert text.endswith("\n")
    m, now, helped = Metrics(), None, None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped = line.split(" ", 3)[2]
            assert line.split(" ", 3)[3], line
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == helped and kind in ("counter", "gauge", "histogram", "summary"), line
            assert name not in m.families, f"{name} comes twice"
            now = m.families[name] = Family(name, kind)
        else:
            got = SAMPLE.match(line)
            assert got, f"no sample: {line}"
            name, labels, value = got.group(1), labels_of(got.group(2) or ""), float(got.group(3))
            assert now is not None and name == now.name, f"{name} stands under {now and now.name}"
            assert (name, labels) not in m.samples, f"twice: {line}"
            m.samples[name, labels] = value
    return m
