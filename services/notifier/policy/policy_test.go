package policy_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // a test must not depend on the machine's

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"headwater/services/notifier/policy"
	"headwater/services/rule"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// butFlap leaves out what TestFlapping looks at.
var butFlap = cmpopts.IgnoreFields(policy.Entry{}, "Flap")

func TestDecide(t *testing.T) {
	phone, mail, log := policy.Channel{Name: "phone", Resolved: true}, policy.Channel{Name: "mail"}, policy.Channel{Name: "log", Resolved: true}
	all := policy.Audience{Channels: []policy.Channel{phone, mail, log}}
	named := policy.Audience{Notify: []string{"phone", "mail"}, Channels: []policy.Channel{phone, mail, log}}
	nobody := policy.Audience{Notify: []string{}, Channels: []policy.Channel{phone, mail, log}}
	firing := policy.Entry{State: policy.Firing, Episode: 100, Notified: []string{"phone", "mail"}}
	resolved := policy.Entry{State: policy.Resolved, Episode: 100, Notified: []string{"phone", "mail"}, Ended: true}
	reopened := policy.Entry{State: policy.Firing, Episode: 100, Notified: []string{"phone", "mail"}, Ended: true}
	for name, tc := range map[string]struct {
		last policy.Entry
		t    policy.Transition
		to   policy.Audience
		want policy.Decision
	}{
		"the first episode is sent to all": {
			policy.Entry{},
			policy.Transition{Phase: policy.Open, Start: 100},
			all,
			policy.Decision{
				Reason: policy.ReasonOpened, Changed: true, Notify: []string{"phone", "mail", "log"},
				Entry: policy.Entry{State: policy.Firing, Episode: 100, Notified: []string{"phone", "mail", "log"}},
			},
		},
		"a rule tells the channels that it names": {
			policy.Entry{},
			policy.Transition{Phase: policy.Open, Start: 100},
			named,
			policy.Decision{
				Reason: policy.ReasonOpened, Changed: true, Notify: []string{"phone", "mail"}, Entry: firing,
				Held: map[string]policy.Hold{"log": policy.HoldNotListed},
			},
		},
		"a rule may notify nobody": {
			policy.Entry{},
			policy.Transition{Phase: policy.Open, Start: 100},
			nobody,
			policy.Decision{
				Reason: policy.ReasonOpened, Changed: true, Entry: policy.Entry{State: policy.Firing, Episode: 100},
				Held: map[string]policy.Hold{"phone": policy.HoldNotListed, "mail": policy.HoldNotListed, "log": policy.HoldNotListed},
			},
		},
		"an episode before the epoch": {
			policy.Entry{},
			policy.Transition{Phase: policy.Open, Start: -5},
			policy.Audience{},
			policy.Decision{Reason: policy.ReasonOpened, Changed: true, Entry: policy.Entry{State: policy.Firing, Episode: -5}},
		},
		"a new episode after the last is sent": {
			resolved,
			policy.Transition{Phase: policy.Open, Start: 200},
			policy.Audience{Channels: []policy.Channel{log}},
			policy.Decision{
				Reason: policy.ReasonOpened, Changed: true, Notify: []string{"log"},
				Entry: policy.Entry{State: policy.Firing, Episode: 200, Notified: []string{"log"}},
			},
		},
		"a new episode takes the place of an open one": {
			firing,
			policy.Transition{Phase: policy.Open, Start: 200},
			policy.Audience{Channels: []policy.Channel{log}},
			policy.Decision{
				Reason: policy.ReasonReplaced, Changed: true, Notify: []string{"log"},
				Entry: policy.Entry{State: policy.Firing, Episode: 200, Notified: []string{"log"}},
			},
		},
		"an update of an episode that was missed is sent": {
			policy.Entry{},
			policy.Transition{Phase: policy.Update, Start: 100},
			policy.Audience{Channels: []policy.Channel{log}},
			policy.Decision{
				Reason: policy.ReasonMissed, Changed: true, Notify: []string{"log"},
				Entry: policy.Entry{State: policy.Firing, Episode: 100, Notified: []string{"log"}},
			},
		},
		"the end of an episode that was missed is not": {
			resolved,
			policy.Transition{Phase: policy.Close, Start: 200},
			all,
			policy.Decision{Reason: policy.ReasonUnseen, Changed: true, Entry: policy.Entry{State: policy.Resolved, Episode: 200}},
		},
		"an update changes the evidence only": {
			firing,
			policy.Transition{Phase: policy.Update, Start: 100},
			all,
			policy.Decision{Reason: policy.ReasonUpdated, Changed: true, Entry: firing},
		},
		"an update after the end is nothing": {
			resolved,
			policy.Transition{Phase: policy.Update, Start: 100},
			all,
			policy.Decision{Reason: policy.ReasonRepeated, Entry: resolved},
		},
		"a repeat says nothing": {
			firing,
			policy.Transition{Phase: policy.Open, Start: 100},
			all,
			policy.Decision{Reason: policy.ReasonRepeated, Entry: firing},
		},
		"the end is sent to the channels that were notified and want it": {
			firing,
			policy.Transition{Phase: policy.Close, Start: 100},
			all,
			policy.Decision{
				Reason: policy.ReasonResolved, Changed: true, Entry: resolved, Notify: []string{"phone"},
				Held: map[string]policy.Hold{"mail": policy.HoldResolvedOff, "log": policy.HoldNotNotified},
			},
		},
		"the end is sent though the rule no longer names a channel": {
			firing,
			policy.Transition{Phase: policy.Close, Start: 100},
			policy.Audience{Notify: []string{}, Channels: []policy.Channel{phone}},
			policy.Decision{Reason: policy.ReasonResolved, Changed: true, Entry: resolved, Notify: []string{"phone"}},
		},
		"a channel that is gone hears no end": {
			firing,
			policy.Transition{Phase: policy.Close, Start: 100},
			policy.Audience{},
			policy.Decision{Reason: policy.ReasonResolved, Changed: true, Entry: resolved},
		},
		"the end twice says nothing": {
			resolved,
			policy.Transition{Phase: policy.Close, Start: 100},
			all,
			policy.Decision{Reason: policy.ReasonRepeated, Entry: resolved},
		},
		"the same episode again says nothing twice": {
			resolved,
			policy.Transition{Phase: policy.Open, Start: 100},
			all,
			policy.Decision{Reason: policy.ReasonReopened, Changed: true, Entry: reopened},
		},
		"nor its end": {
			reopened,
			policy.Transition{Phase: policy.Close, Start: 100},
			all,
			policy.Decision{Reason: policy.ReasonResolvedAgain, Changed: true, Entry: resolved},
		},
		"an episode before the newest is old news": {
			firing,
			policy.Transition{Phase: policy.Open, Start: 99},
			all,
			policy.Decision{Reason: policy.ReasonOld, Entry: firing},
		},
		"so is its end": {
			firing,
			policy.Transition{Phase: policy.Close, Start: 99},
			all,
			policy.Decision{Reason: policy.ReasonOld, Entry: firing},
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := policy.Entry{State: tc.last.State, Episode: tc.last.Episode, Notified: slices.Clone(tc.last.Notified), Ended: tc.last.Ended}
			got := policy.Decide(tc.last, tc.t, tc.to)
			if d := cmp.Diff(tc.want, got, cmpopts.EquateEmpty(), butFlap); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(before, tc.last, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("the entry before was changed: %s", d)
			}
			if !slices.Contains(policy.Reasons(), got.Reason) {
				t.Errorf("%q is not listed", got.Reason)
			}
		})
	}
}

func TestDecideWhileMuted(t *testing.T) {
	t.Parallel()
	phone, mail := policy.Channel{Name: "phone", Resolved: true}, policy.Channel{Name: "mail", Resolved: true}
	mute := policy.Mute{ID: "m", By: "jo", Until: 500}
	all := policy.Audience{Channels: []policy.Channel{phone, mail}}
	muted := all
	muted.Mute = mute
	d := policy.Decide(policy.Entry{}, policy.Transition{Phase: policy.Open, Start: 100}, muted)
	want := policy.Decision{
		Reason: policy.ReasonOpened, Changed: true, Entry: policy.Entry{State: policy.Firing, Episode: 100, Mute: mute},
		Held: map[string]policy.Hold{"phone": policy.HoldMuted, "mail": policy.HoldMuted},
	}
	if diff := cmp.Diff(want, d, cmpopts.EquateEmpty(), butFlap); diff != "" {
		t.Errorf("an episode that begins: %s", diff)
	}
	end := policy.Decide(d.Entry, policy.Transition{Phase: policy.Close, Start: 100}, muted)
	if len(end.Notify) != 0 || end.Entry.Mute != (policy.Mute{}) {
		t.Errorf("nobody knows of the beginning: %+v", end)
	}
	told := policy.Entry{State: policy.Firing, Episode: 100, Notified: []string{"phone"}, Mute: mute}
	if end := policy.Decide(told, policy.Transition{Phase: policy.Close, Start: 100}, muted); !slices.Equal(end.Notify, []string{"phone"}) {
		t.Errorf("who knows of the beginning hears the end: %+v", end)
	}
	for name, tc := range map[string]struct {
		last   policy.Entry
		now    int64
		to     policy.Audience
		reason policy.Reason
		tell   []string
	}{
		"begins": {policy.Entry{State: policy.Firing, Notified: []string{"phone"}}, 100, muted, policy.ReasonMuted, nil},
		"is another": {
			policy.Entry{State: policy.Firing, Mute: policy.Mute{ID: "other"}}, 100, muted, policy.ReasonMuted, nil,
		},
		"lasts":                      {told, 100, muted, policy.ReasonRepeated, nil},
		"ends":                       {told, 500, all, policy.ReasonMuteEnded, []string{"phone", "mail"}},
		"is taken back":              {told, 499, all, policy.ReasonUnmuted, []string{"mail"}},
		"until resolved, taken back": {policy.Entry{State: policy.Firing, Mute: policy.Mute{ID: "m"}}, 500, all, policy.ReasonUnmuted, []string{"phone", "mail"}},
		"ends when nothing fires":    {policy.Entry{State: policy.Resolved, Mute: mute}, 500, all, policy.ReasonRepeated, nil},
		"ends for a muted rule":      {told, 500, policy.Audience{Notify: []string{}, Channels: all.Channels}, policy.ReasonMuteEnded, nil},
	} {
		d := policy.Remute(tc.last, tc.now, tc.to)
		if d.Reason != tc.reason || !slices.Equal(d.Notify, tc.tell) {
			t.Errorf("a silence %s: %+v, want %s and %v", name, d, tc.reason, tc.tell)
		}
		if again := policy.Remute(d.Entry, tc.now, tc.to); again.Changed || len(again.Notify) > 0 {
			t.Errorf("a silence %s: twice: %+v", name, again)
		}
		if !slices.Contains(policy.Reasons(), d.Reason) {
			t.Errorf("%q is not listed", d.Reason)
		}
	}
}

func TestHandle(t *testing.T) {
	t.Parallel()
	phone, mail := policy.Channel{Name: "phone", Resolved: true}, policy.Channel{Name: "mail", Resolved: true}
	to := policy.Audience{Channels: []policy.Channel{phone, mail}}
	muted := to
	muted.Mute = policy.Mute{ID: "m"}
	firing := policy.Entry{State: policy.Firing, Episode: 100, Notified: []string{"phone"}}
	acknowledged := firing
	acknowledged.Acknowledged = true
	resolved := policy.Entry{State: policy.Resolved, Episode: 100, Notified: []string{"phone"}, Ended: true}
	reopened := firing
	reopened.Ended = true
	for name, tc := range map[string]struct {
		last   policy.Entry
		h      policy.Handling
		to     policy.Audience
		reason policy.Reason
		state  policy.State
		ack    bool
		tell   []string
		held   map[string]policy.Hold
	}{
		"nothing is known":          {policy.Entry{}, policy.Handling{Episode: 100, Acknowledged: true}, to, policy.ReasonTooLate, policy.Unknown, false, nil, nil},
		"an episode before":         {firing, policy.Handling{Episode: 99, Acknowledged: true}, to, policy.ReasonTooLate, policy.Firing, false, nil, nil},
		"an episode to come":        {firing, policy.Handling{Episode: 101, Resolved: true}, to, policy.ReasonTooLate, policy.Firing, false, nil, nil},
		"acknowledged":              {firing, policy.Handling{Episode: 100, Acknowledged: true}, to, policy.ReasonAcknowledged, policy.Firing, true, nil, nil},
		"acknowledged twice":        {acknowledged, policy.Handling{Episode: 100, Acknowledged: true}, to, policy.ReasonNoted, policy.Firing, true, nil, nil},
		"acknowledged after it all": {resolved, policy.Handling{Episode: 100, Acknowledged: true}, to, policy.ReasonNoted, policy.Resolved, false, nil, nil},
		"taken back":                {acknowledged, policy.Handling{Episode: 100}, to, policy.ReasonUnacknowledged, policy.Firing, false, []string{"mail"}, map[string]policy.Hold{"phone": policy.HoldNotified}},
		"taken back while muted": {
			acknowledged,
			policy.Handling{Episode: 100},
			muted, policy.ReasonUnacknowledged, policy.Firing, false, nil,
			map[string]policy.Hold{"phone": policy.HoldMuted, "mail": policy.HoldMuted},
		},
		"a comment": {firing, policy.Handling{Episode: 100}, to, policy.ReasonNoted, policy.Firing, false, nil, nil},
		"resolved": {
			acknowledged,
			policy.Handling{Episode: 100, Acknowledged: true, Resolved: true},
			to, policy.ReasonResolvedByHand, policy.Resolved, true,
			[]string{"phone"},
			map[string]policy.Hold{"mail": policy.HoldNotNotified},
		},
		"resolved again": {reopened, policy.Handling{Episode: 100, Resolved: true}, to, policy.ReasonResolvedByHand, policy.Resolved, false, nil, nil},
		"resolved twice": {resolved, policy.Handling{Episode: 100, Resolved: true}, to, policy.ReasonNoted, policy.Resolved, false, nil, nil},
	} {
		d := policy.Handle(tc.last, tc.h, tc.to)
		if d.Reason != tc.reason || d.Entry.State != tc.state || d.Entry.Acknowledged != tc.ack || !slices.Equal(d.Notify, tc.tell) {
			t.Errorf("%s: %+v", name, d)
		}
		if diff := cmp.Diff(tc.held, d.Held, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if !slices.Contains(policy.Reasons(), d.Reason) {
			t.Errorf("%q is not listed", d.Reason)
		}
	}
	// The end of a silence does not notify of what somebody has acknowledged.
	last := acknowledged
	last.Mute = policy.Mute{ID: "m", Until: 500}
	if d := policy.Remute(last, 500, to); d.Reason != policy.ReasonMuteEnded || len(d.Notify) != 0 || d.Held["phone"] != policy.HoldAcknowledged {
		t.Errorf("the end of a silence: %+v", d)
	}
	// A new episode is not acknowledged.
	if d := policy.Decide(acknowledged, policy.Transition{Phase: policy.Open, Start: 200}, to); d.Entry.Acknowledged || len(d.Notify) != 2 {
		t.Errorf("a new episode: %+v", d)
	}
}

// TestOnce runs every order of up to six transitions of two episodes and holds
// the policy to its promise: of an episode, a channel hears the beginning at
// most once and the end at most once, and never the end without the beginning.
func TestOnce(t *testing.T) {
	steps := []policy.Transition{
		{Phase: policy.Open, Start: 1},
		{Phase: policy.Update, Start: 1},
		{Phase: policy.Close, Start: 1},
		{Phase: policy.Open, Start: 2},
		{Phase: policy.Update, Start: 2},
		{Phase: policy.Close, Start: 2},
	}
	to := policy.Audience{Channels: []policy.Channel{{Name: "phone", Resolved: true}}}
	var walk func(entry policy.Entry, said map[string]int, path []policy.Transition)
	walk = func(entry policy.Entry, said map[string]int, path []policy.Transition) {
		if len(path) == 6 {
			return
		}
		for _, step := range steps {
			d := policy.Decide(entry, step, to)
			here := append(slices.Clone(path), step)
			now := map[string]int{}
			maps.Copy(now, said)
			if len(d.Notify) > 0 {
				kind := "begin"
				if d.Entry.State == policy.Resolved {
					kind = "end"
				}
				episode := string(rune('0' + step.Start))
				now[kind+episode]++
				if now[kind+episode] > 1 || kind == "end" && now["begin"+episode] == 0 {
					t.Fatalf("%s of episode %s after %v", kind, episode, here)
				}
			}
			walk(d.Entry, now, here)
		}
	}
	walk(policy.Entry{}, map[string]int{}, nil)
}

func TestTexts(t *testing.T) {
	at := func(s string) int64 {
		m, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return m.UnixNano()
	}
	door := policy.Notice{
		Rule: "door-left-open", Description: "A door seems to be open.", Severity: rule.Critical,
		Site: "demo", Device: "door-07", Metric: "temperature", Unit: "°C",
		Started: at("2026-11-22T14:03:12Z"), Happened: at("2026-11-22T14:03:12Z"), Learned: at("2026-11-22T14:03:13Z"),
		Value: new(9.25), High: new(7.9), Sentence: "9.25 °C: rose 4.35 °C in 2 min (limit 3 °C in 5 min)",
	}
	over := door
	over.Over, over.Ended, over.Happened, over.Learned = true, at("2026-11-22T14:41:00Z"), at("2026-11-22T14:41:00Z"), at("2026-11-22T14:41:01Z")
	over.Value, over.Sentence = new(5.0), "5 °C: recovered, fell at least half of its 4.35 °C rise"
	late := door
	late.Learned = at("2026-11-22T17:10:00Z")
	plain := policy.Notice{
		Rule: "too-cold", Severity: rule.Warning, Site: "hall_1", Device: "a", Metric: "t", Low: new(-0.5),
		Value: new(-1.23456), Started: at("2026-11-22T00:00:00Z"), Happened: 0, Learned: 0,
	}
	band := plain
	band.Severity, band.Low, band.High, band.Unit, band.Value = rule.Info, new(2.0), new(8.0), "bar", new(1e12)
	hostile := door
	hostile.Unit = "\u202e\x1b[31m@everyone\r\nBcc: eve@example.org" + strings.Repeat("x", 1000)
	hostile.Description = "line one\nline two\n" + strings.Repeat("ä", 2000)
	hostile.Sentence = "evil\x00\x07 \u2066sentence\u2028second " + strings.Repeat("ß", 3000)
	cut := door
	cut.Description = strings.Repeat("ä", 2000)
	changed := over
	changed.Sentence = "the rule was changed: 9.25 °C is not above the limit of 12 °C"
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	local := door
	local.Place = berlin
	localOver := over
	localOver.Place = berlin
	// Over the night in which the clock is put back.
	night := localOver
	night.Started, night.Ended = at("2026-10-24T23:30:00Z"), at("2026-10-25T01:30:00Z")
	reminder := local
	reminder.Reminder = true
	labelled := local
	labelled.Labels, labelled.Runbook = map[string]string{"team": "ops", "floor": "2"}, "https://wiki.example.org/door"
	nameless := local
	nameless.Description = ""
	silent := local
	silent.Sentence, silent.Value, silent.High = "no reading for 15 min; the last was 5.1 °C; one every 5 min is usual", nil, nil
	near := plain
	near.Low, near.High, near.Value, near.Unit = nil, new(1_000_000.0), new(1_000_000.01), "W"
	unmuted := local
	unmuted.Muted = policy.Mute{ID: "m", By: "jo at 192.168.1.7", Until: at("2026-11-22T16:00:00Z")}
	untilResolved := local
	untilResolved.Muted = policy.Mute{ID: "m"}
	bare := policy.Notice{Rule: "r", Device: "d", Over: true, Started: 10, Ended: 5}

	for name, n := range map[string]policy.Notice{
		"firing": door, "resolved": over, "late": late, "plain": plain, "band": band, "hostile": hostile, "cut": cut, "bare": bare,
		"changed": changed, "local": local, "local-resolved": localOver, "night": night, "reminder": reminder, "labelled": labelled,
		"nameless": nameless, "silent": silent, "near": near, "unmuted": unmuted, "unmuted-by-hand": untilResolved,
	} {
		t.Run(name, func(t *testing.T) {
			title, body := n.Title(), n.Body()
			golden := filepath.Join("testdata", name+".txt")
			got := title + "\n---\n" + body + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Error(d)
			}
			if name != "hostile" && name != "cut" {
				for line := range strings.SplitSeq(body, "\n") {
					if strings.Count(got, line) != 1 {
						t.Errorf("%q is said twice", line)
					}
				}
			}
			if len(title) > policy.MaxTitle || len(body) > policy.MaxBody || strings.ContainsAny(title, "\r\n") {
				t.Errorf("out of bounds: title of %d bytes, body of %d", len(title), len(body))
			}
		})
	}
}

func TestGroup(t *testing.T) {
	a := policy.Notice{Rule: "a", Device: "door-01", Severity: rule.Critical}
	b := policy.Notice{Rule: "b", Description: "It is warm.", Device: "door-02"}
	title, body := policy.Group([]policy.Notice{a, b}, 7, "hall")
	if want := "Critical: 7 alerts at hall, door-01 among them"; title != want {
		t.Errorf("title %q, want %q", title, want)
	}
	if want := "Critical: a (door-01)\nWarning: It is warm (door-02)\nand 5 more"; body != want {
		t.Errorf("body %q, want %q", body, want)
	}
	if title, body := policy.Group(nil, 0, ""); title != "" || body != "" {
		t.Error("no notice, no text")
	}
	many := slices.Repeat([]policy.Notice{{Description: strings.Repeat("ä", 90), Device: "d"}}, 50)
	if title, body := policy.Group(many, 50, ""); len(title) > policy.MaxTitle || len(body) > policy.MaxBody || !strings.HasSuffix(body, fmt.Sprintf("\nand %d more", 50-strings.Count(body, "\n"))) {
		t.Errorf("title %q, body %q", title, body)
	}
}

func TestCalled(t *testing.T) {
	for _, test := range []struct{ title, device, name, room, wantTitle, wantBody string }{
		{"Hot (d)", "d", "", "", "Hot (d)", "body"},
		{"Hot (d)", "d", "Door", "", "Hot (Door)", "body\nd is Door"},
		{"Hot (d)", "d", "", "Hall", "Hot (d)", "body\nd is in Hall"},
		{"3 alerts at hall, d among them", "d", "Door", "Hall", "3 alerts at hall, d among them", "body\nd is Door, in Hall"},
		{"Hot (d)", "d", "a\nb\x1b", "", "Hot (a b)", "body\nd is a b"},
	} {
		title, body := policy.Called(test.title, "body", test.device, test.name, test.room)
		if title != test.wantTitle || body != test.wantBody {
			t.Errorf("%+v: %q, %q", test, title, body)
		}
	}
}
