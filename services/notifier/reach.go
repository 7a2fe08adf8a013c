package notifier

import (
	"fmt"
	"sync"
	"time"

	alertingv1 "headwater/proto/alerting/v1"
	"headwater/proto/figure"
	"headwater/services/internal/problems"
	"headwater/streams"
)

// maxFailing bounds the critical alerts that are tracked because a channel fails them.
const maxFailing = 1000

// unreachedProblem is the id of the problem that nobody was notified of a critical alert.
const unreachedProblem = "unreached"

// reach knows which critical alerts no channel takes, and reports that as a problem: it
// shows on every page. The senders of one dispatcher share it.
type reach struct {
	report *problems.Reporter

	mu sync.Mutex
	// failing are the critical alerts that a channel fails, by episode; guarded by mu.
	failing map[string]*unheard
}

// unheard is a critical alert that not every channel takes.
type unheard struct {
	// channels are those that fail it.
	channels map[string]bool
	// sequence is the commit that it is from, or a later one.
	sequence uint64
	// title is that of its message, and since the time, once no channel takes it.
	title string
	since time.Time
}

func newReach(report *problems.Reporter) *reach {
	return &reach{report: report, failing: map[string]*unheard{}}
}

// fail notes that a channel fails an episode; nil if too many are failing. The caller holds
// the lock.
func (r *reach) fail(channel, episode string, sequence uint64) *unheard {
	u := r.failing[episode]
	if u == nil {
		if len(r.failing) >= maxFailing {
			return nil
		}
		u = &unheard{channels: map[string]bool{}}
		r.failing[episode] = u
	}
	u.channels[channel], u.sequence = true, max(u.sequence, sequence)
	return u
}

// unreached notes that no channel takes an episode.
func (u *unheard) unreached(title string) {
	if u.title == "" {
		u.title, u.since = title, time.Now()
	}
}

// failed notes that a channel does not take a message. It returns the titles of its critical
// alerts that every channel fails which their commit has a message for, by episode.
func (r *reach) failed(channel string, o outbound) map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	titles := map[string]string{}
	for _, a := range o.message.GetAlerts() {
		if !critical(a) {
			continue
		}
		episode := streams.EpisodeID(a)
		if u := r.fail(channel, episode, o.key.sequence); u != nil && u.byAll(episode, o.commit) {
			u.unreached(notice(a).Title())
			titles[episode] = u.title
		}
	}
	r.show()
	return titles
}

// byAll reports whether every channel that the commit has a message for about the episode
// fails it.
func (u *unheard) byAll(episode string, c *alertingv1.Commit) bool {
	for _, m := range c.GetMessages() {
		if u.channels[m.GetChannel()] {
			continue
		}
		for _, a := range m.GetAlerts() {
			if streams.EpisodeID(a) == episode {
				return false
			}
		}
	}
	return true
}

// restore notes what a channel refused before its sender began: up to a commit, as its last
// record says.
func (r *reach) restore(channel string, sequence uint64, refused []*alertingv1.Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range refused {
		if u := r.fail(channel, one.GetEpisode(), sequence); u != nil && one.GetUnreached() != "" {
			u.unreached(one.GetUnreached())
		}
	}
	r.show()
}

// drop forgets the alerts of a message: a channel took it, so somebody knows of them, or they
// are over.
func (r *reach) drop(m *alertingv1.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range m.GetAlerts() {
		delete(r.failing, streams.EpisodeID(a))
	}
	r.show()
}

// forget drops the episodes that nobody needs to be notified of any more.
func (r *reach) forget(settled func(episode string, sequence uint64) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for episode, u := range r.failing {
		if settled(episode, u.sequence) {
			delete(r.failing, episode)
		}
	}
	r.show()
}

// clear withdraws the problem: the next owner reports its own.
func (r *reach) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.failing)
	r.show()
}

// show reports the problem, or withdraws it. The caller holds the lock.
func (r *reach) show() {
	var first *unheard
	n := 0
	for _, u := range r.failing {
		if u.title == "" {
			continue
		}
		n++
		if first == nil || u.since.Before(first.since) || u.since.Equal(first.since) && u.title < first.title {
			first = u
		}
	}
	switch n {
	case 0:
		r.report.Clear(unreachedProblem)
		return
	case 1:
		r.report.Set(unreachedProblem, problems.Problem{
			Part: problems.PartNotifications, Since: first.since,
			Text: "No channel took the notification of a critical alert: “" + first.title + "”. Look after it, and check the channels.",
		})
	default:
		r.report.Set(unreachedProblem, problems.Problem{
			Part: problems.PartNotifications, Since: first.since,
			Text: fmt.Sprintf("No channel took the notifications of %s: “%s” and others. Look after them, and check the channels.", figure.Plural(n, "critical alert", "critical alerts"), first.title),
		})
	}
}
