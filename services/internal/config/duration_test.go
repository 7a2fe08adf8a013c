package config_test

import (
	"fmt"
	"testing"
	"time"

	"headwater/services/internal/config"
)

// TestTimesAreReadAsPeopleWriteThem reads spans with units that are written out.
func TestTimesAreReadAsPeopleWriteThem(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"2m": 2 * time.Minute, "2 minutes": 2 * time.Minute, "1 minute": time.Minute, "90 seconds": 90 * time.Second, "1.5 hours": 90 * time.Minute,
		"2 days": 48 * time.Hour, "1d12h": 36 * time.Hour, "2 weeks": 0, "minutes": 0, "2 minutes 5": 0, "-1 days": 0, "two minutes": 0,
	} {
		r, err := config.ParseRule("rule", fmt.Appendf(nil, "name: a\ndetector: limit\nabove: 1\nfor: %q\n", text), nil)
		if (err == nil) != (want > 0) || r.For != want {
			t.Errorf("%q: %v, %v", text, r.For, err)
		}
	}
}
