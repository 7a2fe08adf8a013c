package figure

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "1h30m": 90 * time.Minute, "2d": 2 * day, "1d12h": 36 * time.Hour, "0d": 0, "+1d": day,
		"-1d": -day, "-1d12h": -36 * time.Hour, "-90m": -90 * time.Minute, "2 minutes": 2 * time.Minute, "1 day": day, "-2 days": -2 * day,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "-d", "--1d", "+-1d", "1d-2h", "1d+2h", "1.5d", "70000d", "1d2d", "2 weeks", "1 d", "1d2562047h", "5", "day"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}
