package writer

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"headwater/services/internal/influx"
	"headwater/services/internal/process"
	"headwater/services/writer/point"
	"headwater/streams"
)

// request holds points for one bucket.
type request struct {
	bucket influx.Bucket
	lines  *lines
	// deadLetter describes the point of a line that InfluxDB refused; store adds
	// the service, the reason and the payload.
	deadLetter func(line int) streams.DeadLetter
	// entry returns the ledger entry of the reading in a line; nil for lines that the
	// ledger does not count.
	entry func(line int, d streams.DeadLetter) point.Entry
}

// store returns nil when InfluxDB has stored every line, or has refused it and it is
// stored as a dead letter. Otherwise the error is errStopping or that of hard.
func (s *Service) store(ctx, hard context.Context, r request) error {
	if r.lines.count() == 0 {
		return nil
	}
	return s.storeSlice(ctx, hard, r, 0, r.lines.count())
}

// storeSlice stores some of the lines. InfluxDB refuses a request as a whole or in
// part, and does not always name the points, so the lines are halved until the refused
// ones are alone. The others are sent again, because only a 2xx means that they are
// stored.
func (s *Service) storeSlice(ctx, hard context.Context, r request, from, to int) error {
	err := s.gate(r.bucket).do(ctx, hard, func(ctx context.Context) error {
		return s.write(ctx, r.bucket, r.lines.slice(from, to))
	})
	var refusal *influx.Error
	switch {
	case err == nil:
		s.metrics.points.WithLabelValues(r.bucket.Name()).Add(float64(to - from))
		return nil
	case errors.Is(err, errStopping) || !errors.As(err, &refusal) || hard.Err() != nil:
		return err
	case to-from > 1:
		middle := from + (to-from)/2
		if err := s.storeSlice(ctx, hard, r, from, middle); err != nil {
			return err
		}
		return s.storeSlice(ctx, hard, r, middle, to)
	}
	d := r.deadLetter(from)
	if r.entry != nil {
		if err := s.refused(ctx, hard, r.entry(from, d)); err != nil {
			return err
		}
	}
	d.Reason = streams.ReasonRejected
	d.Detail = "InfluxDB refused the point: " + refusal.Message
	d.Payload = []byte(strings.TrimSuffix(string(r.lines.slice(from, to)), "\n"))
	return s.bury(ctx, hard, d)
}

// write sends one request and counts it. A bucket that is missing is created again if
// the token allows it.
func (s *Service) write(ctx context.Context, b influx.Bucket, text []byte) error {
	s.metrics.inFlight.Inc()
	defer s.metrics.inFlight.Dec()
	start := time.Now()
	body := string(text)
	err := s.influx.Write(ctx, b.Name(), body)
	if missing(err) && s.influx.Ensure(ctx, b) == nil {
		err = s.influx.Write(ctx, b.Name(), body)
	}
	s.metrics.duration.Observe(time.Since(start).Seconds())
	switch {
	case err == nil:
		s.metrics.requests.WithLabelValues("stored").Inc()
		s.metrics.success.SetToCurrentTime()
	case retryable(err):
		s.metrics.requests.WithLabelValues("failed").Inc()
	default:
		s.metrics.requests.WithLabelValues("refused").Inc()
	}
	return err
}

// missing reports whether the error means that the bucket does not exist. InfluxDB 1.8
// reports a missing retention policy as an internal error.
func missing(err error) bool {
	var e *influx.Error
	return errors.As(err, &e) && (e.Status == http.StatusNotFound ||
		e.Status == http.StatusInternalServerError && strings.Contains(e.Message, "retention policy not found"))
}

// bury stores a dead letter. It retries until it is stored, because the message that
// it came from is acknowledged afterwards.
func (s *Service) bury(ctx, hard context.Context, d streams.DeadLetter) error {
	d.Service = streams.ServiceWriter
	for {
		err := s.deadLetters.Publish(hard, d)
		if err == nil {
			s.metrics.deadLetters.WithLabelValues(d.Reason).Inc()
			return nil
		}
		s.log.Warn("cannot store a dead letter; its message is held", "err", err)
		if hard.Err() != nil {
			return hard.Err()
		}
		if !process.Sleep(ctx, retryPause) {
			return errStopping
		}
	}
}
