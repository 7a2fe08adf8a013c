package natsd

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestLoudLinesAreBoundedAndCounted(t *testing.T) {
	l := new(logger)
	now := time.Unix(1_800_000_000, 0)
	written := 0
	for range loudLines + 7 {
		may, unsaid := l.may(now)
		if unsaid != 0 {
			t.Fatalf("%d were left out before the first", unsaid)
		}
		if may {
			written++
		}
		now = now.Add(time.Millisecond)
	}
	if written != loudLines {
		t.Errorf("%d lines may be written, want %d", written, loudLines)
	}
	for i, want := range []int{7, 0} {
		now = now.Add(loudInterval)
		if may, unsaid := l.may(now); !may || unsaid != want {
			t.Errorf("interval %d: may is %t, %d were left out, want %d", i+1, may, unsaid, want)
		}
	}
}

func TestLeftOutLinesAreCounted(t *testing.T) {
	var out strings.Builder
	l := &logger{log: slog.New(slog.NewTextHandler(&out, nil)), lines: loudLines + 7}
	l.Errorf("device %d did wrong", 1)
	for _, want := range []string{"more=7", "device 1 did wrong"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in the log:\n%s", want, out.String())
		}
	}
}

func TestLongLineIsCut(t *testing.T) {
	var out strings.Builder
	l := &logger{log: slog.New(slog.NewTextHandler(&out, nil))}
	l.Errorf("client id %s", strings.Repeat("ü", 1000))
	if n := strings.Count(out.String(), "ü"); n < maxLine/2-10 || n > maxLine/2 {
		t.Errorf("%d of 1000 letters are in the log", n)
	}
	if strings.ContainsRune(out.String(), '\uFFFD') || !strings.Contains(out.String(), "…") {
		t.Errorf("the log has %s", out.String())
	}
}
