package machine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/processor/internal/machinetest"
)

// absenceRules detect the absence of readings in every way that there is.
const absenceRules = `
auto: off
rules:
  - {name: quiet, detector: silence}
  - {name: warm, match: {metric: temperature}, detector: limit, above: 30, silence: 1m}
  - {name: long-warm, match: {metric: temperature}, detector: limit, above: 30, for: 45s, silence: 10m}
  - {name: rise, detector: rate, rise: 5, within: 1m, settle: 2m, silence: 1m}
  - {name: garbled, detector: unreadable, within: 1m, share: 30, silence: 1m}
  - {name: aged, expression: 'age("temperature") > 40'}
  - {name: few, expression: 'count("temperature", "1m") < 6 and age("humidity") < 3600'}
`

// arrival is a reading, or a text instead of one, and when it arrives.
type arrival struct {
	at    int64
	key   telemetryv1.Key
	time  int64
	value float64
	text  string
}

// hear has a lane take what arrives, with a clock each second but in the gaps, and
// returns what it emitted. It restarts now and then.
func hear(tb machinetest.Fatal, rules string, until int64, arrivals []arrival, gaps ...[2]int64) *derivedv1.Commit {
	tb.Helper()
	r := newRig(tb, rules)
	r.machine.heard.Steady = false
	slices.SortStableFunc(arrivals, func(a, b arrival) int { return cmp.Compare(a.at, b.at) })
	all := &derivedv1.Commit{Counts: new(derivedv1.Counts)}
	deaf := func(at int64) bool {
		return slices.ContainsFunc(gaps, func(g [2]int64) bool { return at > g[0] && at < g[1] })
	}
	for now := int64(0); now <= until; now += second {
		for len(arrivals) > 0 && arrivals[0].at <= now {
			a := arrivals[0]
			arrivals = arrivals[1:]
			if a.text != "" {
				r.builder.Text(a.key, epoch+a.time, a.text)
			} else {
				r.read(a.key, a.time, a.value)
			}
			r.send(a.at)
		}
		if !deaf(now) {
			r.tick(now)
		}
		machinetest.Add(all, r.take())
		if now%(97*second) == 0 {
			r.reload()
		}
	}
	return all
}

// alerts returns which alerts began and ended, one a line, in order.
func alerts(c *derivedv1.Commit) []string {
	var out []string
	for _, line := range episodes(c) {
		out = append(out, line[:strings.LastIndexByte(line, ' ')])
	}
	return out
}

// episodes returns when alerts began and ended, one a line, in order.
func episodes(c *derivedv1.Commit) []string {
	var out []string
	for _, a := range c.Anomalies {
		if a.Phase == derivedv1.Phase_PHASE_UPDATE {
			continue
		}
		phase := strings.ToLower(strings.TrimPrefix(a.Phase.String(), "PHASE_"))
		out = append(out, fmt.Sprintf("%s %s/%s %s %v %v", a.Rule, a.Series.Device, a.Series.Metric, phase,
			time.Duration(a.Start-epoch), time.Duration(a.Time-epoch)))
	}
	slices.Sort(out)
	return out
}

func keyOf(device int, metric string) telemetryv1.Key {
	return telemetryv1.Key{Site: "hall", Device: fmt.Sprintf("door-%d", device), Metric: metric, Unit: "°C"}
}

// steadily are readings of a device every few seconds, of two metrics, that arrive
// at once.
func steadily(device int, every, from, to int64) []arrival {
	var out []arrival
	for at := from; at < to; at += every {
		out = append(out, arrival{at: at, key: keyOf(device, "temperature"), time: at, value: 20},
			arrival{at: at, key: keyOf(device, "humidity"), time: at, value: 50})
	}
	return out
}

// TestDowntimeIsNotSilence stops Headwater while devices keep reporting.
func TestDowntimeIsNotSilence(t *testing.T) {
	t.Parallel()
	const began = 10 * minute
	for _, long := range []int64{5 * second, 50 * second, 10 * minute, 9 * hour} {
		for _, kept := range []bool{true, false} {
			for _, first := range []int64{0, 9 * second} { // with the first clock, or a while later
				var arrivals []arrival
				over := began + long
				end := over + 10*minute
				for _, a := range slices.Concat(steadily(1, 5*second, 0, end), steadily(2, 20*second, 3*second, end)) {
					if a.at > began && a.at < over+first {
						if !kept {
							continue
						}
						a.at = over + first
					}
					arrivals = append(arrivals, a)
				}
				// One really stays away.
				arrivals = append(arrivals, steadily(3, 5*second, 0, began-3*second)...)
				got := hear(t, absenceRules, end, arrivals, [2]int64{began, over})
				name := fmt.Sprintf("%v, kept %v, first after %v", time.Duration(long), kept, time.Duration(first))
				opened := 0
				for _, a := range got.Anomalies {
					switch {
					case a.Learned < epoch+2*minute: // it begins with few readings
					case a.Series.Device != "door-3":
						t.Errorf("%s: %s", name, brief(&derivedv1.Commit{Anomalies: []*derivedv1.Anomaly{a}}))
					case a.Time < a.Start:
						t.Errorf("%s: ends before its start: %v", name, a)
					case a.Rule == "quiet":
						opened++
						wait := a.Time - epoch - over
						if a.Phase != derivedv1.Phase_PHASE_OPEN || wait < 0 || wait > 16*second {
							t.Errorf("%s: the device that stays away: %v after the gap, %v", name, time.Duration(wait), a)
						}
					case a.Learned < epoch+over:
						t.Errorf("%s: learned while nobody listened: %v", name, a)
					}
				}
				if opened != 2 { // one of each metric
					t.Errorf("%s: the device that stays away is reported %d times", name, opened)
				}
			}
		}
	}
}

// TestGapsChangeNoAlerts compares a lane that always ran with one that did not, and to which
// the devices send later what they kept.
func TestGapsChangeNoAlerts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		const until = 20 * minute
		var always, gapped []arrival
		var gaps [][2]int64
		for at := 5 * minute; ; {
			at += rapid.Int64Range(120, 400).Draw(rt, "up") * second
			long := rapid.SampledFrom([]int64{6, 30, 50, 200, 600}).Draw(rt, "down") * second
			if at+long > until-3*minute {
				break
			}
			gaps = append(gaps, [2]int64{at, at + long})
			at += long
		}
		for d := range rapid.IntRange(1, 3).Draw(rt, "devices") {
			every := rapid.SampledFrom([]int64{1, 5, 10}).Draw(rt, "every") * second
			back := rapid.Int64Range(0, 2).Draw(rt, "back") * second
			value := 20.0
			for at := int64(0); at < until; at += every {
				if rapid.IntRange(0, 19).Draw(rt, "jump") == 0 {
					value = rapid.SampledFrom([]float64{20, 24, 29, 31, 40}).Draw(rt, "value")
				}
				a := arrival{at: at, key: keyOf(d, "temperature"), time: at, value: value}
				if d == 0 && rapid.IntRange(0, 9).Draw(rt, "text") == 0 {
					a.text = "ERR" // it ages, as far as numbers go
				}
				always = append(always, a)
				for _, g := range gaps {
					if a.at > g[0] && a.at < g[1]+back {
						a.at = g[1] + back
					}
				}
				gapped = append(gapped, a)
			}
		}
		rules := strings.Replace(absenceRules, "{name: few,", "{name: few, state: draft,", 1)
		rules = strings.Replace(rules, "{name: aged,", "{name: aged, match: {device: 'door-[12]'},", 1)
		// A wait in which nobody listened teaches nothing, so the usual wait of a device
		// that sends texts in between differs a little.
		rules = strings.Replace(rules, "{name: quiet,", "{name: quiet, match: {device: 'door-[12]'},", 1)
		want := alerts(hear(rt, rules, until, always))
		got := alerts(hear(rt, rules, until, gapped, gaps...))
		if diff := gocmp.Diff(want, got); diff != "" {
			rt.Fatalf("gaps %v change the alerts (-without +with):\n%s", gaps, diff)
		}
	})
}

// TestOneReadingAheadOfTime has a device send a reading minutes ahead of time: it
// waits, and all others are judged as they come.
func TestOneReadingAheadOfTime(t *testing.T) {
	t.Parallel()
	readings := func(ahead bool) []arrival {
		out := steadily(1, 10*second, 0, 10*minute)
		for i := range out {
			if at := out[i].at; at > minute && at < 2*minute && out[i].key.Metric == "temperature" {
				out[i].value = 35
			}
		}
		if ahead {
			out = append(out, arrival{at: 50*second + 1, key: keyOf(1, "temperature"), time: 340*second + 7, value: 99},
				arrival{at: 50*second + 2, key: keyOf(1, "temperature"), time: 341*second + 7, text: "ERR"})
		}
		return out
	}
	const rules = "auto: off\nrules: [{name: warm, detector: limit, above: 30}, {name: cold, detector: limit, below: 40, match: {metric: humidity}}]\n"
	got := hear(t, rules, 11*minute, readings(true))
	expect(t, "emitted", episodes(got), []string{
		"warm door-1/humidity open 0s 0s",
		"warm door-1/temperature close 1m10s 2m0s",
		"warm door-1/temperature close 5m40.000000007s 5m50s",
		"warm door-1/temperature open 1m10s 1m10s",
		"warm door-1/temperature open 5m40.000000007s 5m40.000000007s",
	})
	if n := got.Counts.TooLate; n > 0 {
		t.Errorf("%d readings came too late", n)
	}
	for _, a := range got.Anomalies {
		if late := a.Learned - a.Time; late > 2*second {
			t.Errorf("learned %v late: %v", time.Duration(late), a)
		}
	}
}

// TestReadingsAheadChangeNothingElse compares readings of which some come ahead of
// time with the same that come at their time.
func TestReadingsAheadChangeNothingElse(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		const until = 8 * minute
		var inTime, some []arrival
		for d := range 2 {
			for i := range int64(48) {
				for j, metric := range []string{"temperature", "humidity"} {
					at := i*10*second + int64(j)*second
					a := arrival{at: at, key: keyOf(d, metric), time: at, value: rapid.SampledFrom([]float64{20, 24, 29, 31, 40}).Draw(rt, "value")}
					if rapid.IntRange(0, 14).Draw(rt, "text") == 0 {
						a.text = "ERR"
					}
					inTime = append(inTime, a)
					if rapid.IntRange(0, 9).Draw(rt, "ahead") == 0 {
						a.at = max(0, a.at-rapid.Int64Range(1, 299).Draw(rt, "by")*second)
					}
					some = append(some, a)
				}
			}
		}
		rules := absenceRules + "windows: [10s, 1m]\n"
		want, got := hear(rt, rules, until, inTime), hear(rt, rules, until, some)
		if diff := gocmp.Diff(episodes(want), episodes(got)); diff != "" {
			rt.Fatalf("readings ahead of time change the alerts (-in time +ahead):\n%s", diff)
		}
		if got.Counts.TooLate > 0 {
			rt.Fatalf("%d readings came too late", got.Counts.TooLate)
		}
		if diff := gocmp.Diff(lastOf(want), lastOf(got)); diff != "" {
			rt.Fatalf("readings ahead of time change the summaries (-in time +ahead):\n%s", diff)
		}
	})
}

// lastOf returns the last summary of each window.
func lastOf(c *derivedv1.Commit) map[string]string {
	out := make(map[string]string)
	for _, s := range c.Summaries {
		key := fmt.Sprintf("%s/%s %s %v", s.Series.Device, s.Series.Metric, s.Window, time.Duration(s.Start-epoch))
		out[key] = fmt.Sprintf("%d: %v to %v, mean %v, first %v, last %v", s.Count, s.Min, s.Max, s.Mean, s.First, s.Last)
	}
	return out
}
