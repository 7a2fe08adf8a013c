package dashboard

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/proto/figure"
	"headwater/services/dashboard/fleet"
	"headwater/services/internal/config"
	"headwater/services/internal/configstore"
	"headwater/streams"
	"headwater/web/replay"
	"headwater/web/view"
)

const (
	// replayAnswerWithin bounds one request to a processor about a replay.
	replayAnswerWithin = 15 * time.Second
	// maxReal bounds the real alerts that are shown beside those of a replay.
	maxReal = 2000
	// replayTries is how many processors are asked for a replay, because each runs one
	// at a time.
	replayTries = 3
)

// replays implements replay.Source by asking the processors. It keeps no replay
// itself, so any dashboard can show any replay.
type replays struct {
	js   jetstream.JetStream
	book *fleet.Book
}

// Begin implements replay.Source.
func (r *replays) Begin(ctx context.Context, q replay.Query) (replay.Replay, error) {
	request := streams.ReplayRequest{ID: rand.Text(), Rule: q.Rule, From: q.From.UTC(), To: q.To.UTC(), Warm: q.Warm}
	status := streams.ReplayStatus{State: streams.ReplayFailed, Error: wrong(request)}
	if status.Error != "" {
		return replay.Replay{ReplayStatus: status}, nil
	}
	body, err := request.Encode()
	if err != nil {
		return replay.Replay{}, err
	}
	status, err = r.start(ctx, body)
	return replay.Replay{ReplayStatus: status}, err
}

// start asks processors to begin a replay, until one is free.
func (r *replays) start(ctx context.Context, body []byte) (status streams.ReplayStatus, err error) {
	for range replayTries {
		status, err = r.ask(ctx, streams.ReplayStart, body)
		if errors.Is(err, nats.ErrNoResponders) {
			err = fmt.Errorf("%w: no processor runs that could do it", view.ErrUnavailable)
		}
		if err != nil || status.State != streams.ReplayBusy {
			break
		}
	}
	return status, err
}

// wrong returns what is wrong with a request; empty if nothing is.
func wrong(r streams.ReplayRequest) string {
	if err := r.Check(); err != nil {
		return err.Error()
	}
	return ""
}

// Replay implements replay.Source.
func (r *replays) Replay(ctx context.Context, id string) (replay.Replay, error) {
	if !streams.ValidToken(id) {
		return replay.Replay{}, view.ErrNotFound
	}
	status, err := r.ask(ctx, streams.ReplaySubject(id), nil)
	if errors.Is(err, nats.ErrNoResponders) {
		return replay.Replay{}, view.ErrNotFound
	}
	if err != nil {
		return replay.Replay{}, err
	}
	out := replay.Replay{ReplayStatus: status}
	if status.Result != nil {
		err = r.compare(ctx, &out)
	}
	return out, err
}

// Cancel implements replay.Source.
func (r *replays) Cancel(ctx context.Context, id string) error {
	if !streams.ValidToken(id) {
		return view.ErrNotFound
	}
	_, err := r.ask(ctx, streams.ReplaySubject(id), []byte(streams.ReplayCancel))
	if errors.Is(err, nats.ErrNoResponders) {
		return view.ErrNotFound
	}
	return err
}

func (r *replays) ask(ctx context.Context, subject string, body []byte) (streams.ReplayStatus, error) {
	if r.js.Conn().Status() != nats.CONNECTED {
		return streams.ReplayStatus{}, fmt.Errorf("%w: NATS does not answer", view.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(ctx, replayAnswerWithin)
	defer cancel()
	m, err := r.js.Conn().RequestWithContext(ctx, subject, body)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return streams.ReplayStatus{}, err
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return streams.ReplayStatus{}, fmt.Errorf("%w: the processor gave no answer within %s", view.ErrUnavailable, figure.Duration(replayAnswerWithin))
	case err != nil:
		return streams.ReplayStatus{}, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	return streams.DecodeReplayStatus(m.Data)
}

// compare adds the real alerts on the series that the rule matches.
func (r *replays) compare(ctx context.Context, out *replay.Replay) error {
	ctx, cancel := context.WithTimeout(ctx, replayAnswerWithin)
	defer cancel()
	store, err := configstore.Open(ctx, r.js)
	if err != nil {
		return fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	version, err := store.Current(ctx)
	if err != nil {
		return fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	inForce, err := version.Config()
	if err != nil {
		return err
	}
	tried, err := config.ParseRule("rule", []byte(out.Rule), inForce.Targets())
	if err != nil {
		return fmt.Errorf("read the rule that was tried: %w", err)
	}
	var found []fleet.Found
	watched := func(site, device, metric string) bool {
		return tried.Matches(site, device, metric, inForce.Tags(site, device))
	}
	found, out.MoreReal = r.book.Search(watched, out.Result.From, out.Result.To, maxReal)
	out.Real = make([]replay.Real, len(found))
	for i, f := range found {
		out.Real[i] = replay.Real(f)
	}
	return nil
}
