package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	mappings := filepath.Join(t.TempDir(), "mappings.yaml")
	text := "mappings:\n  - {topic: 'plant/{machine}', site: hall, device: '{machine}', metric: speed, value: payload.v, unit: rpm}\n  - {topic: 'tele/#', site: flat}\n"
	if err := os.WriteFile(mappings, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, topic, payload string
		args                 []string
		code                 int
		want                 []string
	}{
		{"own topic", "sensors/hall/d", `{"a":1,"b":{"c":"on"}}`, nil, exitDone, []string{"decoder: Headwater", "hall/d", "b_c", "true", "on arrival"}},
		{"format", "tele/plug/LWT", "Online", nil, exitDone, []string{"decoder: Tasmota", "home/plug", "online", "true"}},
		{"site of a format", "tele/plug/LWT", "Online", []string{"--config", mappings}, exitDone, []string{"flat/plug"}},
		{"mapping", "plant/press", `{"v":900}`, []string{"--config", mappings}, exitDone, []string{"decoder: mapping of plant/{machine}", "hall/press", "speed", "900 rpm"}},
		{"nothing", "zigbee2mqtt/plug/set", "{}", nil, exitDone, []string{"no reading: it is a command"}},
		{"partial", "sensors/hall/d", `{"a":1,"b":"nan"}`, nil, exitFailed, []string{"a", "dead letter (value): b: nan is not a number"}},
		{"unknown topic", "plant/press", "1", nil, exitFailed, []string{"dead letter (topic): unknown topic", `mappings: [{topic: "{device}/press", device: "{device}", metric: "press"}]`}},
		{"near a format", "plant/tele/plug/sensor/x/y", "1", nil, exitFailed, []string{"the nearest is Tasmota"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out, errs strings.Builder
			env := environment{out: &out, err: &errs, in: strings.NewReader(test.payload)}
			code := run(t.Context(), env, append([]string{"decode", "--topic", test.topic}, test.args...))
			if code != test.code {
				t.Errorf("exit code %d, want %d: %s", code, test.code, errs.String())
			}
			for _, want := range test.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in\n%s", want, out.String())
				}
			}
		})
	}
}
