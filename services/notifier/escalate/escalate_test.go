package escalate_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/services/notifier/escalate"
	"headwater/services/rule"
)

func TestDue(t *testing.T) {
	t.Parallel()
	steps := []escalate.Step{
		{Severity: rule.Warning, After: 10 * time.Minute, Notify: []string{"office"}},
		{Severity: rule.Critical, After: 10 * time.Minute, Notify: []string{"boss", "office"}},
		{Severity: rule.Critical, After: time.Hour, Notify: []string{"owner"}},
	}
	for name, tc := range map[string]struct {
		alert escalate.Alert
		after time.Duration
		want  []string
	}{
		"too early":               {escalate.Alert{Severity: rule.Critical}, 10*time.Minute - 1, nil},
		"a warning":               {escalate.Alert{Severity: rule.Warning}, 10 * time.Minute, []string{"office"}},
		"an info never":           {escalate.Alert{Severity: rule.Info}, time.Hour, nil},
		"both steps of a time":    {escalate.Alert{Severity: rule.Critical}, 10 * time.Minute, []string{"office", "boss"}},
		"those who know are left": {escalate.Alert{Severity: rule.Critical, Notified: []string{"phone", "office", "boss"}}, time.Hour, []string{"owner"}},
		"steps that were missed":  {escalate.Alert{Severity: rule.Critical}, 2 * time.Hour, []string{"office", "boss", "owner"}},
		"held":                    {escalate.Alert{Severity: rule.Critical, Held: true}, 2 * time.Hour, nil},
	} {
		tc.alert.Opened = int64(time.Hour)
		if d := cmp.Diff(tc.want, escalate.Due(steps, tc.alert, int64(time.Hour+tc.after))); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	channels := []string{"phone", "office", "boss", "log"}
	if d := cmp.Diff([]string{"phone", "log"}, escalate.First(steps, channels)); d != "" {
		t.Error(d)
	}
	if first := escalate.First(steps, []string{"boss"}); first != nil {
		t.Errorf("with steps for every channel %v are the first", first)
	}
	if first := escalate.First(nil, channels); first != nil {
		t.Errorf("without steps %v are the first", first)
	}
}
