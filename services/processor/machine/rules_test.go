package machine

import (
	"math"
	"strings"
	"testing"

	"headwater/services/processor/detect"
)

// watching names the rules that watch a series of the rig's machine.
func (r *rig) watching(site, name, metric string) string {
	d := r.machine.devices[deviceKey{site: site, name: name}]
	if d == nil {
		return "no device"
	}
	s := d.find(metric)
	if s == nil {
		return "no series"
	}
	var names []string
	for _, sl := range s.slots {
		names = append(names, sl.rule.rule.Name)
	}
	return strings.Join(names, " ")
}

func TestWhichRulesWatchASeries(t *testing.T) {
	t.Parallel()
	const limit = "detector: limit, above: 30"
	for name, tc := range map[string]struct{ rules, want string }{
		"nobody declared anything":              {"rules: []", "unusual"},
		"the built-in rule beside another":      {"rules: [{name: a, " + limit + "}]", "a unusual"},
		"auto is off":                           {"auto: off\nrules: [{name: a, " + limit + "}]", "a"},
		"another auto watches it":               {"rules: [{name: mine, detector: auto}]", "mine"},
		"another auto watches other series":     {"rules: [{name: mine, detector: auto, match: {metric: power}}]", "unusual"},
		"another auto is a draft":               {"rules: [{name: mine, detector: auto, state: draft}]", "unusual"},
		"the built-in rule is declared again":   {"rules: [{name: unusual, detector: auto, match: {metric: power}}]", ""},
		"the built-in rule is made a draft":     {"rules: [{name: unusual, detector: auto, state: draft}]", ""},
		"muted rules detect":                    {"auto: off\nrules: [{name: a, " + limit + ", state: muted}]", "a"},
		"drafts do not":                         {"auto: off\nrules: [{name: a, " + limit + ", state: draft}]", ""},
		"the device has the tag":                {"auto: off\ndevices: [{match: {device: \"door-*\"}, tags: {kind: door}}]\nrules: [{name: a, " + limit + ", match: {tags: {kind: door}}}]", "a"},
		"the device has the tag in other words": {"auto: off\ndevices: [{match: {device: \"door-*\"}, tags: {kind: gate}}]\nrules: [{name: a, " + limit + ", match: {tags: {kind: door}}}]", ""},
		"another device has the tag":            {"auto: off\ndevices: [{match: {device: gate}, tags: {kind: door}}]\nrules: [{name: a, " + limit + ", match: {tags: {kind: door}}}]", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Once with the rules in force before the series comes, once after.
			early := newRig(t, tc.rules)
			late := newRig(t, "rules: []")
			for _, r := range []*rig{early, late} {
				r.read(thermometer, 0, 4)
				r.send(0)
			}
			late.configure(2, tc.rules)
			for what, r := range map[string]*rig{"before": early, "after": late} {
				if got := r.watching("hall", "door-1", "temperature"); got != tc.want {
					t.Errorf("rules that came %s the series: %q watch it, want %q", what, got, tc.want)
				}
				r.reload()
				if got := r.watching("hall", "door-1", "temperature"); got != tc.want {
					t.Errorf("restored, with rules that came %s the series: %q watch it, want %q", what, got, tc.want)
				}
			}
		})
	}
}

// TestEpisodesEndWithWhatOpenedThem removes the cause of an open episode from a rule: the
// episode is closed, because nothing would close it later.
func TestEpisodesEndWithWhatOpenedThem(t *testing.T) {
	t.Parallel()
	const tagged = "auto: off\ndevices: [{match: {device: \"door-*\"}, tags: {kind: door}}]\n"
	const rules = "rules: [{name: a, detector: limit, above: 30, match: {tags: {kind: door}}}]\n"
	for name, after := range map[string]string{
		"the tag is taken away":  "auto: off\n" + rules,
		"the rule becomes draft": tagged + strings.Replace(rules, "above", "state: draft, above", 1),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, tagged+rules)
			r.read(thermometer, 0, 31)
			r.tick(0)
			r.take()
			r.configure(2, after)
			if got := brief(r.take()); len(got) != 1 || !strings.Contains(got[0], " close ") {
				t.Errorf("emitted %v", got)
			}
		})
	}
	t.Run("muting is no end", func(t *testing.T) {
		r := newRig(t, tagged+rules)
		r.read(thermometer, 0, 31)
		r.tick(0)
		r.take()
		r.configure(2, tagged+strings.Replace(rules, "above", "state: muted, above", 1))
		if got := brief(r.take()); len(got) != 0 {
			t.Errorf("emitted %v", got)
		}
	})
}

func TestVersionsAreCountedPerRule(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rules: [{name: a, detector: limit, above: 30}, {name: b, detector: limit, above: 31}]")
	r.configure(7, "rules: [{name: a, detector: limit, above: 30}, {name: b, detector: limit, above: 32}]")
	r.configure(9, "rules: [{name: b, detector: limit, above: 32}, {name: a, detector: limit, above: 30, runbook: \"https://example.org\"}]")
	for _, rule := range r.machine.config.rules {
		want := map[string]uint64{"a": 9, "b": 7, "unusual": 1}[rule.rule.Name]
		if rule.version != want {
			t.Errorf("%s has version %d, want %d", rule.rule.Name, rule.version, want)
		}
	}
}

// downsampled returns what the detectors that learn get for some readings.
func downsampled(readings []detect.Sample) []detect.Sample {
	var out []detect.Sample
	var state downsampler
	last := int64(past)
	for _, r := range readings {
		mean, due, whole := state.add(r, last)
		if due {
			out = append(out, mean)
		}
		if whole {
			out = append(out, r)
		}
		last = r.Time
	}
	return out
}

func every(step int64, n int, value func(int) float64) []detect.Sample {
	var out []detect.Sample
	for i := range n {
		out = append(out, detect.Sample{Time: epoch + int64(i)*step, Value: value(i)})
	}
	return out
}

func TestFastSeriesAreThinned(t *testing.T) {
	t.Parallel()
	square := func(i int) float64 { return float64(i % 10) }
	t.Run("a reading every 10 s and slower is a reading", func(t *testing.T) {
		for _, step := range []int64{10 * second, minute, hour} {
			in := every(step, 100, square)
			if got := downsampled(in); len(got) != len(in) || got[50] != in[50] {
				t.Errorf("every %d s: %d of %d", step/second, len(got), len(in))
			}
		}
	})
	t.Run("a reading a second becomes a mean every 10 s", func(t *testing.T) {
		got := downsampled(every(second, 200, square))
		// Eight readings until it is known that the series is fast.
		if len(got) != 8+19 {
			t.Fatalf("%d", len(got))
		}
		for i, s := range got[9:] {
			if want := epoch + int64(i)*10*second + 19*second; s.Time != want || math.Abs(s.Value-4.5) > 1e-12 {
				t.Errorf("mean %d: %+v, want 4.5 at %d", i, s, want)
			}
		}
	})
	t.Run("what is equal stays equal", func(t *testing.T) {
		for _, s := range downsampled(every(second/7, 5000, func(int) float64 { return 0.1 })) {
			if s.Value != 0.1 {
				t.Fatalf("%v", s.Value)
			}
		}
	})
	t.Run("a series that slows down counts by the reading again", func(t *testing.T) {
		fast := every(second, 100, square)
		slow := every(minute, 50, square)
		for i := range slow {
			slow[i].Time += 200 * second
		}
		got := downsampled(append(fast, slow...))
		if got[len(got)-1] != slow[49] || got[len(got)-30] != slow[20] {
			t.Errorf("the last are %+v", got[len(got)-3:])
		}
		for i := range got[1:] {
			if got[i+1].Time <= got[i].Time {
				t.Fatalf("%d comes after %d", got[i+1].Time, got[i].Time)
			}
		}
	})
}

// TestDownsampledEpisodesEndInSilence stops a fast series while an episode of a
// detector that learns is open: it closes when the series is silent, and not
// before readings that still wait in their window were judged.
func TestDownsampledEpisodesEndInSilence(t *testing.T) {
	t.Parallel()
	r := newRig(t, "rules: [{name: range, detector: range, silence: 5m, false_alarms: 1000}]\nauto: off\n")
	const readings = 3600
	for i := range int64(readings) {
		v := math.Sin(float64(i) / 100)
		if i >= readings-15 {
			v = 1e6
		}
		if i == readings-15 {
			r.take() // what was unusual while little was known
		}
		r.read(thermometer, i*second, v)
		if i%10 == 0 {
			r.tick(i * second)
		}
	}
	r.tick(readings * second)
	got := brief(r.take())
	if len(got) != 1 || !strings.Contains(got[0], " open ") {
		t.Fatalf("emitted %v", got)
	}
	r.reload()
	for i := range int64(10) {
		r.tick((readings + 60*i) * second)
	}
	got = brief(r.take())
	last := len(got) - 1
	if last < 0 || !strings.Contains(got[last], "close") || !strings.Contains(got[last], "at 1h4m59s") {
		t.Errorf("emitted %v", got)
	}
}
