package streams

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReplayRequest(t *testing.T) {
	now := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	good := ReplayRequest{ID: "one", Rule: "{}", From: now.Add(-time.Hour), To: now, Warm: time.Minute}
	body, err := good.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeReplayRequest(body)
	if diff := cmp.Diff(good, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for name, change := range map[string]func(*ReplayRequest){
		"no id":                   func(r *ReplayRequest) { r.ID = "" },
		"an id with a dot":        func(r *ReplayRequest) { r.ID = "a.b" },
		"no rule":                 func(r *ReplayRequest) { r.Rule = "" },
		"a rule too long":         func(r *ReplayRequest) { r.Rule = strings.Repeat("x", MaxReplayRule+1) },
		"no period":               func(r *ReplayRequest) { r.To = r.From },
		"a period too long":       func(r *ReplayRequest) { r.From = r.To.Add(-MaxReplayPeriod - 1) },
		"a negative time to warm": func(r *ReplayRequest) { r.Warm = -1 },
		"a time to warm too long": func(r *ReplayRequest) { r.Warm = MaxReplayPeriod + 1 },
	} {
		bad := good
		change(&bad)
		body, err := bad.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeReplayRequest(body); !errors.Is(err, ErrReplay) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := DecodeReplayRequest([]byte("what?")); err == nil {
		t.Error("what is no JSON is accepted")
	}
}
