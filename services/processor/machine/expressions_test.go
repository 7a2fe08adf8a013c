package machine

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
)

const warmerThanOutside = `auto: off
devices: [{match: {device: "door-*"}, tags: {kind: door}}]
rules:
  - name: warmer
    match: {tags: {kind: door}}
    expression: temperature > outside + 5 and avg("temperature", "10m") > 8
    for: 1m
    severity: critical
`

var outside = telemetryv1.Key{Site: "hall", Device: "door-1", Metric: "outside", Unit: "°C"}

func TestExpressionOfADevice(t *testing.T) {
	t.Parallel()
	r := newRig(t, warmerThanOutside)
	gate := thermometer
	gate.Device = "gate" // has no tag
	var got []string
	for i := range int64(20) {
		r.read(outside, i*30*second, 5.5)
		r.read(thermometer, i*30*second+second, 10+float64(i%4/3)) // 11 is enough
		r.read(gate, i*30*second, 30)
		r.tick(i*30*second + second)
		if i == 7 {
			r.read(thermometer, i*30*second+2*second, 12)
			r.read(thermometer, i*30*second+3*second, 12)
		}
		got = append(got, brief(r.take())...)
		r.reload()
	}
	expect(t, "a condition that never lasts", got, nil)
	for i := range int64(6) {
		r.read(thermometer, (620+i*20)*second, 13)
		r.tick((620 + i*20) * second)
		got = append(got, brief(r.take())...)
		r.reload()
	}
	r.read(thermometer, 800*second, 8)
	r.tick(800 * second)
	got = append(got, brief(r.take())...)
	expect(t, "a condition that lasts", got, []string{
		`warmer v1 hall/door-1/temperature critical open from 9m31s at 10m31s, learned 10m40s: temperature 13 °C, outside 5.5, avg("temperature", "10m") 10.57: temperature > outside + 5 and avg("temperature", "10m") > 8 for 1 min`,
		`warmer v1 hall/door-1/temperature critical close from 9m31s at 13m20s, learned 13m20s: temperature 8 °C, outside 5.5, avg("temperature", "10m") 11.09: over after 3 min 49 s`,
	})
}

func TestExpressionThatIsChangedOrLosesItsDevice(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		after string
		want  string
	}{
		"another description":    {strings.Replace(warmerThanOutside, "severity", "description: Warm.\n    severity", 1), ""},
		"a condition that holds": {strings.Replace(warmerThanOutside, "+ 5", "+ 4", 1), "update from 0s"},
		"one that does not": {
			strings.Replace(warmerThanOutside, "+ 5", "+ 16", 1),
			"close from 0s at 1m0s, learned 1m0s: the rule was changed: temperature 20 °C, outside 4, avg(\"temperature\", \"10m\") 20: not temperature > outside + 16",
		},
		"another metric":        {warmerThanOutside + "    metric: outside\n", "raises its alerts under another metric now"},
		"a longer time":         {strings.Replace(warmerThanOutside, "for: 1m", "for: 1h", 1), ""},
		"the tag is taken away": {strings.Replace(warmerThanOutside, "kind: door}}]", "kind: gate}}]", 1), "close"},
		"the rule is a draft":   {strings.Replace(warmerThanOutside, "severity", "state: draft\n    severity", 1), "close"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, warmerThanOutside)
			r.read(outside, 0, 4)
			r.read(thermometer, 0, 20)
			r.read(thermometer, minute, 20)
			r.tick(minute)
			if got := brief(r.take()); len(got) != 1 || !strings.Contains(got[0], " open ") {
				t.Fatalf("emitted %v", got)
			}
			r.configure(2, tc.after)
			got := strings.Join(brief(r.take()), "\n")
			r.reload()
			if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("emitted %q, want %q", got, tc.want)
			}
		})
	}
}

func TestFailingExpressionIsReported(t *testing.T) {
	t.Parallel()
	r := newRig(t, "auto: off\nrules:\n  - {name: ratio, expression: a / b > 2}\n  - {name: warm, detector: limit, above: 30}\n")
	read := func(device, metric string, at int64, v float64) {
		r.read(telemetryv1.Key{Site: "hall", Device: device, Metric: metric}, at*second, v)
	}
	step := func(at int64) { r.send(at * second) }
	for _, d := range []string{"one", "two"} {
		read(d, "a", 0, 40)
		read(d, "b", 1, 0)
	}
	step(1)
	c := r.take()
	if len(c.Anomalies) != 2 {
		t.Errorf("the lane continues: emitted %v", brief(c))
	}
	want := &derivedv1.RuleStatus{
		Rule: "ratio", RuleVersion: 1, Failing: 1, Error: "division by zero", Site: "hall", Device: "one", Learned: epoch + second,
	}
	if len(c.Rules) != 1 || !proto.Equal(c.Rules[0], want) {
		t.Fatalf("emitted %v, want %v", c.Rules, want)
	}
	r.reload()
	read("one", "b", 2, 1)
	step(2)
	got := r.take().Rules
	r.reload()
	if len(got) != 0 {
		t.Errorf("it fails for the other device still, but emitted %v", got)
	}
	read("two", "b", 3, 1)
	step(3)
	c = r.take()
	if len(c.Rules) != 1 || c.Rules[0].Failing != 0 || c.Rules[0].Error != "" {
		t.Errorf("emitted %v at the end", c.Rules)
	}
	if len(c.Anomalies) != 1 {
		t.Errorf("emitted %v once it can be evaluated", brief(c))
	}
}
