package policy_test

import (
	"fmt"
	"time"

	"headwater/services/notifier/policy"
	"headwater/services/rule"
)

// Decide is called for each transition of an episode, with the entry of the previous
// decision. It names the channels that get a message, and a reason.
func ExampleDecide() {
	to := policy.Audience{
		Notify:   []string{"phone"}, // what the rule names
		Channels: []policy.Channel{{Name: "phone", Resolved: true}, {Name: "mail"}},
	}
	var entry policy.Entry
	for _, phase := range []policy.Phase{policy.Open, policy.Update, policy.Close} {
		d := policy.Decide(entry, policy.Transition{Phase: phase, Start: 1}, to)
		fmt.Println(d.Reason, d.Notify)
		entry = d.Entry
	}
	// Output:
	// opened [phone]
	// updated []
	// resolved [phone]
}

// A notice is written for a lock screen first.
func ExampleNotice() {
	at := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC).UnixNano()
	n := policy.Notice{
		Rule: "door-open", Description: "A door is open", Severity: rule.Critical,
		Site: "hall", Device: "door-1", Metric: "temperature", Unit: "°C",
		Started: at, Happened: at, Learned: at,
		Sentence: "8.25 °C: rose 3.95 °C in 2 min (limit 3 °C in 5 min)",
	}
	fmt.Println(n.Title())
	fmt.Println(n.Body())
	// Output:
	// Critical: A door is open (door-1)
	// 8.25 °C: rose 3.95 °C in 2 min (limit 3 °C in 5 min)
	// temperature of door-1 at hall
	// Since 2026-03-14 15:09:26 UTC
	// Rule door-open
}
