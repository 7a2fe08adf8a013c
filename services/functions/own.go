package functions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"headwater/services/internal/calendar"
	"headwater/services/internal/function/contract"
	"headwater/services/internal/process"
	"headwater/streams"
)

// own runs the function on what no stream has. Its place is the one that the record counts.
func (r *runner) own(ctx, hard context.Context, number uint64, event contract.Reading) error {
	place := streams.Place{Incarnation: r.record.at.Incarnation, Sequence: number}
	in := input{place: place, readings: []contract.Reading{event}}
	if r.shadow == nil {
		return r.alone(ctx, hard, in)
	}
	r.record.at = place
	return r.compare(ctx, []input{in})
}

// count begins to count what no stream has, if that has not begun. A function that was
// deleted and deployed again begins at 1 again, so its places have another incarnation.
func (r *runner) count() (begun bool) {
	if r.record.at.Incarnation != 0 {
		return false
	}
	r.record.at.Incarnation = r.s.now().UnixNano()
	return true
}

// schedule prepares a schedule: it begins with the first time after it was deployed.
func (r *runner) schedule(hard context.Context) error {
	if !r.count() && r.shadow == nil {
		return nil
	}
	r.record.at.Sequence = uint64(r.s.now().Unix())
	if r.shadow != nil {
		return nil
	}
	return r.record.commit(hard, r.record.at, nil, nil, r.live.version.Number)
}

// clockEvery is how often the clock is looked at, because it may be set.
const clockEvery = time.Second

// tick runs the function if a time of its schedule has come. Of several that have passed
// while nothing ran, only the last one counts.
func (r *runner) tick(ctx, hard context.Context) error {
	version := r.live.version
	cron, err := calendar.ParseCron(version.Cron)
	if err != nil {
		return err
	}
	now, place := r.s.now(), r.s.zones.Of(version.Site)
	if place == nil {
		process.Sleep(ctx, clockEvery) // the configuration is not known yet
		return nil
	}
	last := time.Unix(int64(r.record.at.Sequence), 0)
	if last.Before(now.Add(-missedWithin)) {
		last = now.Add(-missedWithin)
	}
	next, ok := cron.Next(last, place)
	if !ok || next.After(now) {
		wait := clockEvery
		if ok {
			wait = min(wait, next.Sub(now))
		}
		process.Sleep(ctx, wait)
		return nil
	}
	for {
		later, ok := cron.Next(next, place)
		if !ok || later.After(now) {
			break
		}
		next = later
	}
	return r.own(ctx, hard, uint64(next.Unix()), contract.Tick(version.Site, next.In(place)))
}

// missedWithin is how old a time of a schedule may be that is caught up on.
const missedWithin = 31 * 24 * time.Hour

// maxRequests bounds the requests that wait for a function.
const maxRequests = 64

// listen subscribes to the requests to the function. A shadow gets a copy of each.
func (r *runner) listen() (err error) {
	r.count()
	nc := r.s.js.Conn()
	r.dropped = 0
	if r.requests, err = nc.SubscribeSync(streams.CallSubject(r.f.Name)); err != nil {
		return fmt.Errorf("take the requests to %s: %w", r.f.Name, err)
	}
	if err = r.requests.SetPendingLimits(maxRequests, 2*maxRequests*contract.MaxRequest); err == nil {
		err = nc.Flush()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("take the requests to %s: %w", r.f.Name, err), r.requests.Unsubscribe())
	}
	return nil
}

// serve takes one request. Its reply follows the commit of what it did.
func (r *runner) serve(ctx, hard context.Context) error {
	within, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	msg, err := r.requests.NextMsgWithContext(within)
	switch {
	case within.Err() != nil && err != nil:
		return nil // nothing came in time
	case errors.Is(err, nats.ErrSlowConsumer):
		return r.countDropped()
	case err != nil:
		return fmt.Errorf("take a request: %w", err)
	}
	var call contract.Call
	if err := json.Unmarshal(msg.Data, &call); err != nil || len(call.Body) > contract.MaxRequest {
		return r.respond(msg, contract.Reply{Status: http.StatusBadRequest, Type: "text/plain", Body: "that is no request"})
	}
	if !r.s.now().Before(call.Until) {
		r.drop(droppedLate, 1)
		return nil
	}
	if call.Key != "" && r.shadow == nil {
		if i := slices.IndexFunc(r.record.last.Answered, func(a answered) bool { return a.Key == call.Key }); i >= 0 {
			return r.respond(msg, r.record.last.Answered[i].Reply)
		}
	}
	r.key = call.Key
	err = r.own(ctx, hard, r.record.at.Sequence+1, contract.Request(call, r.s.now()))
	r.key = ""
	if err != nil {
		reply := contract.Reply{Status: http.StatusServiceUnavailable, Type: "text/plain", Body: "the function does not run: " + err.Error()}
		return errors.Join(err, r.respond(msg, reply))
	}
	if err := r.respond(msg, r.live.reply); err != nil {
		return err
	}
	r.pause(ctx)
	return nil
}

// countDropped counts the requests that came while too many waited.
func (r *runner) countDropped() error {
	all, err := r.requests.Dropped()
	if err != nil {
		return fmt.Errorf("take a request: %w", err)
	}
	r.log.Warn("requests came faster than the function takes them, and were dropped; who sent them gets no reply", "dropped", all-r.dropped)
	r.drop(droppedOverflow, all-r.dropped)
	r.dropped = all
	return nil
}

// drop counts requests without a reply; a shadow replies to none.
func (r *runner) drop(reason string, n int) {
	if r.shadow == nil {
		r.s.metrics.dropped.WithLabelValues(r.f.Name, reason).Add(float64(n))
	}
}

// respond answers a request. A shadow answers none.
func (r *runner) respond(msg *nats.Msg, reply contract.Reply) error {
	if r.shadow != nil {
		return nil
	}
	body, err := json.Marshal(reply)
	if err == nil {
		err = msg.Respond(body)
	}
	if err != nil {
		return fmt.Errorf("answer a request: %w", err)
	}
	return nil
}
