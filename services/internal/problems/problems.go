// Package problems carries problems from the services that notice them to the
// dashboard, through a small bucket in which each process has one entry. An
// entry that is not renewed is void, so a process that died reports nothing.
package problems

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
)

// Bounds of what one process reports.
const (
	// Most is the largest number of problems; further problems are left out.
	Most = 50
	// maxText is the greatest length of a text in bytes.
	maxText = 600
)

const (
	// renewEvery is how often an entry is renewed.
	renewEvery = streams.ProblemsTTL / 3
	// retryEvery is the pause after a failed write.
	retryEvery = 2 * time.Second
	// within bounds one write.
	within = 5 * time.Second
)

// PartNotifications is the part of the problem that nobody is notified of a critical alert.
// Pages show it before others.
const PartNotifications = "Notifications"

// Problem is one thing that is wrong.
type Problem struct {
	// Part names what has the problem, for people: a channel, "Configuration".
	Part string `json:"part"`
	// Text says what is wrong and what to do, in sentences.
	Text string `json:"text"`
	// Site and Device, if not empty, are the device whose page shows it too.
	Site   string `json:"site,omitempty"`
	Device string `json:"device,omitempty"`
	// Since is when it began.
	Since time.Time `json:"since"`
	// Refused, if not empty, says that the part is a sender and what was refused: one of
	// the Refused constants. Last is when it last was.
	Refused string    `json:"refused,omitempty"`
	Last    time.Time `json:"last,omitzero"`
	// Quiet means that it may have happened once: it is for the page on which somebody
	// connects a device, and not for every page.
	Quiet bool `json:"quiet,omitempty"`
}

// What is refused of a sender.
const (
	RefusedLogIn   = "log-in"
	RefusedMQTT    = "mqtt"
	RefusedRequest = "request"
)

// Reporter reports the problems of one process. It is safe for concurrent use.
// A nil Reporter reports nothing.
type Reporter struct {
	js      jetstream.JetStream
	key     string
	log     *slog.Logger
	changed chan struct{}

	mu   sync.Mutex
	open map[string]Problem // by id; guarded by mu
}

// New returns a reporter for a process of a service. It does no I/O.
func New(js jetstream.JetStream, service string, log *slog.Logger) *Reporter {
	return &Reporter{
		js: js, key: streams.WorkerKey(service, rand.Text()), log: log,
		changed: make(chan struct{}, 1), open: make(map[string]Problem),
	}
}

// Set reports a problem, or replaces the problem with that id, which keeps its
// Since. A zero Since means now.
func (r *Reporter) Set(id string, p Problem) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p.Text = strings.ToValidUTF8(p.Text[:min(len(p.Text), maxText)], "")
	p.Part = strings.ToValidUTF8(p.Part[:min(len(p.Part), maxText)], "")
	was, known := r.open[id]
	switch {
	case known:
		p.Since = was.Since
	case len(r.open) >= Most:
		return
	case p.Since.IsZero():
		p.Since = time.Now()
	}
	if p != was {
		r.open[id] = p
		r.wake()
	}
}

// Clear removes the problem with that id.
func (r *Reporter) Clear(id string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.open[id]; known {
		delete(r.open, id)
		r.wake()
	}
}

func (r *Reporter) wake() {
	select {
	case r.changed <- struct{}{}:
	default: // it is awake already
	}
}

// Run writes the problems until ctx ends, and then withdraws them.
func (r *Reporter) Run(ctx context.Context) {
	tick := time.NewTimer(0)
	defer tick.Stop()
	written, failed := false, false
	for {
		select {
		case <-ctx.Done():
			if written {
				if err := r.write(context.WithoutCancel(ctx), nil); err != nil {
					r.log.Debug("the report stays until it expires", "err", err)
				}
			}
			return
		case <-r.changed:
		case <-tick.C:
		}
		r.mu.Lock()
		all := slices.Collect(maps.Values(r.open))
		r.mu.Unlock()
		tick.Reset(renewEvery)
		if len(all) == 0 && !written {
			continue
		}
		err := r.write(ctx, all)
		if err != nil && ctx.Err() == nil {
			if !failed {
				r.log.Warn("problems cannot be reported to the dashboard; trying again", "err", err)
			}
			tick.Reset(retryEvery)
		} else {
			written = len(all) > 0
		}
		failed = err != nil
	}
}

// write puts the entry of the process, or removes it.
func (r *Reporter) write(ctx context.Context, all []Problem) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	kv, err := r.js.KeyValue(ctx, streams.BucketProblems)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", streams.BucketProblems, err)
	}
	if len(all) == 0 {
		err = kv.Delete(ctx, r.key)
	} else {
		slices.SortFunc(all, compare)
		var value []byte
		value, err = json.Marshal(all)
		if err == nil {
			_, err = kv.Put(ctx, r.key, value)
		}
	}
	if err != nil {
		return fmt.Errorf("write key %s of bucket %s: %w", r.key, streams.BucketProblems, err)
	}
	return nil
}

func compare(a, b Problem) int {
	return cmp.Or(strings.Compare(a.Part, b.Part), strings.Compare(a.Text, b.Text))
}

// maxEntries bounds the processes whose reports are kept.
const maxEntries = 200

// Board holds the reports of all processes, as a watch of the bucket delivers
// them. It is safe for concurrent use.
type Board struct {
	mu      sync.Mutex
	entries map[string]entry // guarded by mu
}

type entry struct {
	at  time.Time
	all []Problem
}

// NewBoard returns an empty board.
func NewBoard() *Board { return &Board{entries: make(map[string]entry)} }

// Take takes the entry of a process, which is nil if it was removed.
func (b *Board) Take(key string, value []byte, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []Problem
	if len(value) > 0 && json.Unmarshal(value, &all) != nil {
		return
	}
	if _, known := b.entries[key]; len(all) > 0 && (known || len(b.entries) < maxEntries) {
		b.entries[key] = entry{at, all[:min(len(all), Most)]}
	} else {
		delete(b.entries, key)
	}
}

// Problems returns the problems that are not void at a time, without repeats.
func (b *Board) Problems(now time.Time) []Problem {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Problem
	for key, e := range b.entries {
		if now.Sub(e.at) > streams.ProblemsTTL {
			delete(b.entries, key)
			continue
		}
		out = append(out, e.all...)
	}
	slices.SortFunc(out, func(a, b Problem) int { return cmp.Or(compare(a, b), a.Since.Compare(b.Since)) })
	return slices.CompactFunc(out, func(a, b Problem) bool { return compare(a, b) == 0 })
}
