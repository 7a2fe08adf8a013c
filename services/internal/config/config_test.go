package config_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"headwater/services/internal/about"
	"headwater/services/internal/config"
	"headwater/services/rule"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestParse(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "whole.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := config.Parse("whole.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	want := &config.Config{
		Rules: []rule.Rule{
			{
				Name: "door-left-open", Description: "A door seems to be open.",
				Match: rule.Match{
					Site: "*", Device: "door-*", Metric: "temperature", Tags: map[string]string{"kind": "door"},
				},
				State: rule.Muted, Labels: map[string]string{"team": "ops", "floor": "2"},
				Runbook: "https://wiki.example.org/doors", Detector: rule.Rate,
				Rise: 3, Fall: 2.5, Within: 5 * time.Minute, Settle: 90 * time.Minute, Silence: time.Hour,
				Severity: rule.Critical, Notify: []string{"phone"},
			},
			{
				Name: "too-warm", Match: rule.Match{Site: "*", Device: "*", Metric: "*"}, Detector: rule.Limit,
				Above: new(30.0), Below: new(-5.5), Hysteresis: 1, For: 2 * time.Minute, Silence: 36 * time.Hour,
				Severity: rule.Warning,
			},
			{
				Name: "quiet", Match: rule.Match{Site: "*", Device: "*", Metric: "*"}, Detector: rule.Limit,
				Above: new(10.0), Silence: time.Hour, Severity: rule.Info, Notify: []string{},
			},
			{
				Name: "leap", Match: rule.Match{Site: "*", Device: "*", Metric: "*"}, Detector: rule.Surge,
				FalseAlarms: 0.5, Direction: rule.Up, Silence: time.Hour, Severity: rule.Warning,
			},
			{
				Name: "garbled", Match: rule.Match{Site: "*", Device: "*", Metric: "*"}, Detector: rule.Unreadable,
				Share: 5, Within: 30 * time.Minute, Silence: time.Hour, Severity: rule.Warning,
			},
			{
				Name: "unusual", Match: rule.Match{Site: "*", Device: "*", Metric: "*"}, Detector: rule.Auto,
				FalseAlarms: 0.1, Silence: time.Hour, Severity: rule.Warning,
			},
		},
		Devices: []config.Devices{
			{Match: rule.Match{Site: "hall", Device: "door-*"}, About: about.About{
				Tags: map[string]string{"kind": "door", "floor": "2"}, Interval: 5 * time.Minute,
				Metrics: map[string]about.Metric{"temperature": {Name: "Air", Unit: "°C", Precision: new(1), Low: new(-40.0), High: new(60.0), Interval: time.Minute}},
			}},
			{Match: rule.Match{Device: "door-3"}, About: about.About{Tags: map[string]string{"floor": "basement"}, Name: "Delivery door", Room: "Hall 1", Location: "north wall", Notes: "Replaced in March."}},
		},
		Series: []config.Series{
			{Match: rule.Match{Metric: "pressure"}, Unit: "hPa"},
			{Match: rule.Match{Site: "hall", Device: "plc-*", Metric: "state"}, Literal: new(true)},
			{Match: rule.Match{Device: "plc-7"}, Unit: "%", Literal: new(false)},
		},
		Channels: []config.Channel{
			{Name: "phone", Type: config.Ntfy, URL: "https://ntfy.sh/my-topic", Resolved: true},
			{Name: "mail", Type: config.Shoutrrr, URLFile: "secrets/mail", Resolved: false},
			{
				Name: "receiver", Type: config.Webhook, URL: "https://example.org/alerts", Resolved: true,
				SecretFile: "secrets/receiver", Format: config.FormatAlertmanager,
			},
			{Name: "phones", Type: config.WebPush, Resolved: true},
		},
		Escalation: []config.Escalation{
			{Severity: rule.Critical, After: 10 * time.Minute, Notify: []string{"mail"}},
			{Severity: rule.Warning, After: 24 * time.Hour, Notify: []string{"mail", "phone"}},
		},
		Grouping: config.Grouping{By: []string{"site", "gateway", "label:team"}, Wait: 2 * time.Second, Interval: 5 * time.Minute, Repeat: 4 * time.Hour},
		Windows: []config.Window{
			{Name: "10s", Kind: config.Tumbling, Width: 10 * time.Second, Lateness: 2 * time.Minute},
			{Name: "1m", Kind: config.Tumbling, Width: time.Minute, Lateness: 2 * time.Minute},
			{
				Name: "hopping-10m-1m", Kind: config.Hopping, Width: 10 * time.Minute, Every: time.Minute,
				Delay: 10 * time.Second, Lateness: 5 * time.Minute,
			},
			{Name: "session-5m-1h", Kind: config.Session, Width: time.Hour, Gap: 5 * time.Minute, Lateness: 2 * time.Minute},
			{Name: "sliding-5m-30s", Kind: config.Sliding, Width: 5 * time.Minute, Every: 30 * time.Second, Lateness: 2 * time.Minute},
		},
		Lateness: 2 * time.Minute,
		TimeZone: "Europe/Berlin",
	}
	for i := range want.Rules {
		r := &want.Rules[i]
		r.Origin = rule.FromFile
		if r.State == "" {
			r.State = rule.Enabled
		}
	}
	mail := config.Grouping{By: []string{"site"}, Wait: 2 * time.Second, Interval: time.Hour, Repeat: 4 * time.Hour}
	if d := cmp.Diff(map[string]config.Grouping{"mail": mail, "phone": got.Grouping}, map[string]config.Grouping{"mail": got.GroupingOf("mail"), "phone": got.GroupingOf("phone")}); d != "" {
		t.Error(d)
	}
	if got.Zone("hall") != "Asia/Kolkata" || got.Zone("attic") != "Europe/Berlin" || got.Zone("elsewhere") != "Europe/Berlin" {
		t.Errorf("zones are %s, %s and %s", got.Zone("hall"), got.Zone("attic"), got.Zone("elsewhere"))
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(config.Config{})); d != "" {
		t.Error(d)
	}
	for _, test := range []struct {
		site, device, metric, unit string
		literal                    bool
	}{
		{"hall", "baro", "pressure", "hPa", false},
		{"hall", "plc-1", "state", "", true},
		{"attic", "plc-1", "state", "", false},
		{"hall", "plc-7", "state", "%", false}, // the later entry counts
		{"hall", "plc-7", "pressure", "%", false},
	} {
		if unit, literal := got.Reading(test.site, test.device, test.metric); unit != test.unit || literal != test.literal {
			t.Errorf("%+v is read in %q, literal %v", test, unit, literal)
		}
	}
	for device, want := range map[string]map[string]string{
		"door-1": {"kind": "door", "floor": "2"}, "door-3": {"kind": "door", "floor": "basement"}, "gate": nil,
	} {
		if d := cmp.Diff(want, got.Tags("hall", device)); d != "" {
			t.Errorf("tags of %s: %s", device, d)
		}
	}
	if r, ok := got.Rule("too-warm"); !ok || r.Name != "too-warm" {
		t.Error("Rule did not find too-warm")
	}
	if _, ok := got.Rule("absent"); ok {
		t.Error("Rule found one that is absent")
	}
}

func TestDefault(t *testing.T) {
	// Without anybody's wish nothing may be critical, and nobody notified.
	empty, err := config.Parse("default.yaml", config.Default())
	if err != nil {
		t.Fatal(err)
	}
	if len(empty.Rules) != 1 || !empty.Rules[0].Equal(rule.Unusual()) || len(empty.Channels) != 0 {
		t.Errorf("the default holds %+v and %+v", empty.Rules, empty.Channels)
	}
	c, err := config.Parse("demo.yaml", config.Demo())
	if err != nil {
		t.Fatal(err)
	}
	door, ok := c.Rule("door-left-open")
	if !ok || door.Detector != rule.Rate || !door.Matches("demo", "door-01", "temperature", nil) {
		t.Errorf("the demo should watch its doors %+v", door)
	}
	warm, ok := c.Rule("too-warm")
	if !ok || warm.Above == nil || *warm.Above != 30 || !warm.Matches("demo", "door-20", "temperature", nil) {
		t.Errorf("the demo should watch for warmth: %+v", warm)
	}
}

// TestProblems holds every message to a golden file: testdata/bad/<case>.yaml
// and what Parse says of it in <case>.txt.
func TestProblems(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "bad", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := config.Parse(name+".yaml", text)
			if err == nil {
				t.Fatalf("accepted: %+v", c)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, readErr := os.ReadFile(golden)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if d := cmp.Diff(string(want), err.Error()+"\n"); d != "" {
				t.Error(d)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the message shows a secret")
			}
			for _, p := range config.Problems(err) {
				if p.Line < 1 || p.Line > 1+strings.Count(string(text), "\n") {
					t.Errorf("line %d is outside of the text", p.Line)
				}
			}
		})
	}
}

func TestHostileTexts(t *testing.T) {
	var keys strings.Builder
	for i := range 60_000 {
		fmt.Fprintf(&keys, "k%d: 1\n", i)
	}
	rules := "rules:\n" + strings.Repeat("  - name: a\n    detector: limit\n    above: 1\n", config.MaxRules+1)
	for name, tc := range map[string]struct{ text, want string }{
		"empty":            {"", "hostile:1: is empty"},
		"comments":         {"# nothing\n\n", "hostile:1: is empty"},
		"too large":        {strings.Repeat("#", config.MaxBytes+1), "hostile:1: is 1048577 bytes long"},
		"not utf-8":        {"rules: []\n# \xff\n", "hostile:2: is not UTF-8"},
		"deep lists":       {strings.Repeat("[", 400_000), "nested deeper"},
		"deep mappings":    {strings.Repeat("{a: ", 200_000), "nested deeper"},
		"deep entries":     {strings.Repeat("- ", 400_000), "nested deeper"},
		"many fields":      {keys.String(), "fields in a row"},
		"many rules":       {rules, fmt.Sprintf("rules: lists %d, at most %d", config.MaxRules+1, config.MaxRules)},
		"many problems":    {"rules:\n" + strings.Repeat("  - {}\n", 200), "problems more"},
		"two documents":    {"rules: []\n---\nrules: []\n", "more than one document"},
		"anchors":          {"rules: &a\n  - *a\n", "alias or anchor"},
		"merge":            {"rules:\n  - <<: {name: a}\n", "plain text"},
		"a tag":            {"rules: !!binary aaaa\n", "must be a list"},
		"nul":              {"rules: \x00\n", "hostile:1"},
		"only a dash":      {"-", "must be a mapping"},
		"unclosed":         {"rules: [\n", "hostile:1: is not YAML"},
		"tab":              {"rules:\n\t- name: a\n", "hostile:2: is not YAML"},
		"byte order marks": {"\xef\xbb\xbf\xef\xbb\xbfrules: []", "hostile:1"},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := config.Parse("hostile", []byte(tc.text))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %.300v, want %q", err, tc.want)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestNoMessageHoldsASecret breaks the text in many ways around a secret.
func TestNoMessageHoldsASecret(t *testing.T) {
	before := []string{
		"", "@", "`", "!", "!!", "&", "*", "%", "|", "> ", "[", "{", `"`, "'", "? ", "- ", ": ", "<<: *", "!hunter2 ", "\t", "#",
		"key: ", `"\x`, "!!binary ", "|9", ">+-",
	}
	after := []string{
		"", "\n x", "]", "}", `"`, ": a: b", "\n- b", " : : :", "\n\tx", `\q"`, "]]", "\n  - x\n y",
	}
	frames := []string{
		"channels:\n  - name: a\n    type: ntfy\n    url: %\n", "channels: [{name: a, type: ntfy, url: %}]", "url: %\n",
		"channels:\n  - {name: a, type: shoutrrr, url: %}\n  - {name: a, type: webhook, url: %, resolved: %}\n",
	}
	for _, b := range before {
		for _, a := range after {
			for _, frame := range frames {
				text := strings.ReplaceAll(frame, "%", b+"https://ntfy.sh/hunter2"+a)
				if _, err := config.Parse("secret.yaml", []byte(text)); err != nil && strings.Contains(err.Error(), "hunter2") {
					t.Errorf("%q: %v", text, err)
				}
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(string(config.Default()))
	files, err := filepath.Glob(filepath.Join("testdata", "bad", "*.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := config.Parse("fuzz", []byte(text))
		if (c == nil) == (err == nil) {
			t.Fatalf("neither or both: %v, %v", c, err)
		}
		if err != nil {
			return
		}
		for _, r := range c.Rules {
			if err := r.Validate(); err != nil {
				t.Errorf("accepted a rule that is not valid: %v", err)
			}
		}
	})
}

func TestSecret(t *testing.T) {
	c := config.Channel{Name: "a", URL: "https://user:hunter2@example.org/"}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "channel", c, "url", c.URL)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "channel", c, "url", c.URL)
	body, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{log.String(), string(body), fmt.Sprintf("%v %+v %#v %s %q %x", c, c, c, c.URL, c.URL, c.URL), c.URL.String()} {
		if strings.Contains(shown, "hunter2") {
			t.Errorf("shows the secret: %s", shown)
		}
	}
	if c.URL.Reveal() != "https://user:hunter2@example.org/" {
		t.Error("Reveal should give the secret itself")
	}
}
