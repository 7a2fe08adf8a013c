package group_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/services/notifier/group"
)

// event is something that happens at a time in seconds: "+a" is the beginning of an
// episode of alert a, "-a" its end. Alerts of one first letter are a group.
type event struct {
	at   int
	what string
}

// play returns what goes to a channel by time: "+a1 b" is a message about the episode 1 of
// a and about b. With restore, the state is stored and restored after every second.
func play(t *testing.T, p group.Policy, until int, restore bool, events ...event) []string {
	t.Helper()
	var g group.Gathering[string]
	var out []string
	rules := group.Rules[string]{
		Policy: func(string) (group.Policy, bool) { return p, true },
		Go: func(_ group.Key, _ bool, _, value string) (string, bool) {
			return value, !strings.HasSuffix(value, "!")
		},
	}
	for at := range until {
		now := int64(at) * int64(time.Second)
		for _, e := range events {
			if e.at == at {
				name := e.what[1:]
				g.Add(group.Key{Channel: "phone", Group: name[:1]}, e.what[0] == '-', strings.TrimRight(name, "0123456789!"), name, now, p)
			}
		}
		for _, m := range g.Due(now, rules) {
			out = append(out, fmt.Sprintf("%d %s%s", at, map[bool]string{true: "-", false: "+"}[m.Over], strings.Join(m.Values, " ")))
		}
		if again := g.Due(now, rules); len(again) > 0 {
			t.Errorf("at %d more is due: %v", at, again)
		}
		if restore {
			stored, err := g.Store(func(v string) ([]byte, error) { return []byte(v), nil })
			if err != nil {
				t.Fatal(err)
			}
			body, err := json.Marshal(stored)
			if err != nil {
				t.Fatal(err)
			}
			var read group.Stored
			if err := json.Unmarshal(body, &read); err != nil {
				t.Fatal(err)
			}
			g, err = group.Restore(read, func(v []byte) (string, error) { return string(v), nil })
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return out
}

func TestGathering(t *testing.T) {
	t.Parallel()
	minute := group.Policy{Interval: time.Minute}
	for name, tc := range map[string]struct {
		policy group.Policy
		events []event
		want   []string
	}{
		"the first goes at once":            {minute, []event{{5, "+a1"}}, []string{"5 +a1"}},
		"those of one moment go together":   {minute, []event{{5, "+ax1"}, {5, "+ay1"}, {5, "+b1"}}, []string{"5 +ax1 ay1", "5 +b1"}},
		"later ones after the interval":     {minute, []event{{5, "+ax1"}, {6, "+ay1"}, {30, "+az1"}, {31, "+b1"}}, []string{"5 +ax1", "31 +b1", "65 +ay1 az1"}},
		"after a quiet interval at once":    {minute, []event{{5, "+ax1"}, {65, "+ay1"}}, []string{"5 +ax1", "65 +ay1"}},
		"an end is of another kind":         {minute, []event{{5, "+a1"}, {6, "-a1"}}, []string{"5 +a1", "6 -a1"}},
		"with a wait":                       {group.Policy{Wait: 10 * time.Second, Interval: time.Minute}, []event{{5, "+ax1"}, {14, "+ay1"}, {16, "+az1"}}, []string{"15 +ax1 ay1", "75 +az1"}},
		"without an interval":               {group.Policy{}, []event{{5, "+a1"}, {5, "+b1"}, {6, "-a1"}, {6, "+a2"}}, []string{"5 +a1", "5 +b1", "6 -a1", "6 +a2"}},
		"an end with its beginning":         {minute, []event{{5, "+a1"}, {5, "-a1"}}, []string{"5 +a1", "5 -a1"}},
		"an end never before its beginning": {minute, []event{{5, "+ax1"}, {6, "+ay1"}, {7, "-ay1"}, {8, "-ax1"}}, []string{"5 +ax1", "8 -ax1", "65 +ay1", "68 -ay1"}},
		"a beginning after the earlier end": {minute, []event{{5, "+a1"}, {6, "-a1"}, {7, "+a2"}, {64, "-a2"}, {65, "+a3"}}, []string{"5 +a1", "6 -a1", "65 +a3"}},
		"behind an end that waits":          {minute, []event{{1, "+ax1"}, {1, "+ay1"}, {30, "-ax1"}, {31, "-ay1"}, {32, "+ay2"}}, []string{"1 +ax1 ay1", "30 -ax1", "90 -ay1", "90 +ay2"}},
		"what need not go":                  {minute, []event{{1, "+ax1!"}, {2, "+ay1"}, {3, "+az1!"}, {4, "-az1"}}, []string{"2 +ay1"}},
	} {
		for _, restore := range []bool{false, true} {
			if d := cmp.Diff(tc.want, play(t, tc.policy, 200, restore, tc.events...)); d != "" {
				t.Errorf("%s (restored: %t): %s", name, restore, d)
			}
		}
	}
}

// TestFlapping has an alert begin and end in turn each second for ten minutes.
func TestFlapping(t *testing.T) {
	t.Parallel()
	var events []event
	for at := range 600 {
		events = append(events, event{at, fmt.Sprintf("%ca%d", "+-"[at%2], at/2)})
	}
	got := play(t, group.Policy{Interval: time.Minute}, 900, false, events...)
	if d := cmp.Diff(got, play(t, group.Policy{Interval: time.Minute}, 900, true, events...)); d != "" {
		t.Errorf("restored: %s", d)
	}
	last := map[byte]int{'+': -60, '-': -60}
	begun := 0
	for _, m := range got {
		var at, episode int
		var kind byte
		if _, err := fmt.Sscanf(m, "%d %ca%d", &at, &kind, &episode); err != nil {
			t.Fatalf("%s: %v", m, err)
		}
		if at-last[kind] < 60 {
			t.Errorf("%s goes %d s after the last", m, at-last[kind])
		}
		last[kind] = at
		if kind == '+' {
			begun = episode
		} else if episode != begun {
			t.Errorf("the end of %d goes after the beginning of %d", episode, begun)
		}
	}
	if len(got) != 20 && len(got) != 22 {
		t.Errorf("%d messages: %v", len(got), got)
	}
	if !strings.HasSuffix(got[len(got)-1], "-a299") {
		t.Errorf("the last message is %s, but it is over", got[len(got)-1])
	}
}

// TestCrowd has very many groups begin at once, then end.
func TestCrowd(t *testing.T) {
	t.Parallel()
	var g group.Gathering[int]
	p := group.Policy{Interval: time.Minute}
	rules := group.Rules[int]{
		Policy: func(string) (group.Policy, bool) { return p, true },
		Go:     func(_ group.Key, _ bool, _ string, v int) (int, bool) { return v, true },
	}
	told := map[bool]map[int]bool{false: {}, true: {}}
	messages := 0
	due := func(now int64) {
		for _, m := range g.Due(now, rules) {
			messages++
			for _, n := range m.Values {
				if told[m.Over][n] || m.Over && !told[false][n] {
					t.Fatalf("%d goes twice, or too early", n)
				}
				told[m.Over][n] = true
			}
		}
	}
	const begin, size = int64(time.Hour), 500
	for second := range 300 {
		now := begin + int64(second)*int64(time.Second)
		for n := range 10_000 {
			// What begins within one second, and ends within another.
			if second == 0 || second == 30 {
				g.Add(group.Key{Channel: "phone", Group: fmt.Sprint(n % 1000)}, second == 30, fmt.Sprint(n), n, now+int64(n/size)*int64(50*time.Millisecond), p)
			}
			if n%size == size-1 && (second == 0 || second == 30) {
				due(now + int64(n/size)*int64(50*time.Millisecond))
			}
		}
		due(now + int64(time.Second) - 1)
	}
	if messages > 20 || len(told[false]) != 10_000 || len(told[true]) != 10_000 {
		t.Errorf("%d messages about %d that began and %d that ended", messages, len(told[false]), len(told[true]))
	}
	if !g.Idle() {
		t.Error("something waits, or is remembered")
	}
}
