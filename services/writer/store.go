package writer

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"headwater/services/internal/influx"
	"headwater/services/writer/point"
	"headwater/streams"
)

// request is points for one bucket.
type request struct {
	bucket influx.Bucket
	lines  *lines
	// deadLetter describes the point of a line that InfluxDB refused; store adds
	// the service, the reason and the payload.
	deadLetter func(line int) streams.DeadLetter
	// entry returns the reading of a line as the ledger knows it; nil for lines
	// that the ledger does not count.
	entry func(line int, d streams.DeadLetter) point.Entry
}

// store returns nil when InfluxDB has stored every line, or refused it and it
// is kept as a dead letter. Else the error is errStopping, or that of work.
func (s *Service) store(stop, work context.Context, r request) error {
	if r.lines.count() == 0 {
		return nil
	}
	return s.storeSlice(stop, work, r, 0, r.lines.count())
}

// storeSlice stores some of the lines. InfluxDB refuses a request as a whole or
// in part, and does not always say which points it means, so the lines are
// halved until the refused ones stand alone. The others are sent again, for
// only a 2xx says that they are stored.
func (s *Service) storeSlice(stop, work context.Context, r request, from, to int) error {
	err := s.gate(r.bucket).do(stop, work, func(ctx context.Context) error {
		return s.write(ctx, r.bucket, r.lines.slice(from, to))
	})
	var refusal *influx.Error
	switch {
	case err == nil:
		s.metrics.points.WithLabelValues(r.bucket.Name()).Add(float64(to - from))
		return nil
	case errors.Is(err, errStopping) || !errors.As(err, &refusal) || work.Err() != nil:
		return err
	case to-from > 1:
		middle := from + (to-from)/2
		if err := s.storeSlice(stop, work, r, from, middle); err != nil {
			return err
		}
		return s.storeSlice(stop, work, r, middle, to)
	}
	d := r.deadLetter(from)
	if r.entry != nil {
		if err := s.refused(stop, work, r.entry(from, d)); err != nil {
			return err
		}
	}
	d.Reason = streams.ReasonRejected
	d.Detail = "InfluxDB refused the point: " + refusal.Message
	d.Payload = []byte(strings.TrimSuffix(string(r.lines.slice(from, to)), "\n"))
	return s.bury(stop, work, d)
}

// write sends one request, and counts it. A bucket that has gone is made again
// if the token may.
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

// missing says whether the error is that the bucket does not exist. InfluxDB
// 1.8 reports a missing retention policy as a fault of its own.
func missing(err error) bool {
	var e *influx.Error
	return errors.As(err, &e) && (e.Status == http.StatusNotFound ||
		e.Status == http.StatusInternalServerError && strings.Contains(e.Message, "retention policy not found"))
}

// bury stores a dead letter. It tries again until it is stored, because what
// it came from is acknowledged afterwards.
func (s *Service) bury(stop, work context.Context, d streams.DeadLetter) error {
	d.Service = streams.ServiceWriter
	for {
		err := s.deadLetters.Publish(work, d)
		if err == nil {
			s.metrics.deadLetters.WithLabelValues(d.Reason).Inc()
			return nil
		}
		s.log.Warn("cannot store a dead letter; what it came from is held", "err", err)
		select {
		case <-work.Done():
			return work.Err()
		case <-stop.Done():
			return errStopping
		case <-time.After(maxPause / 10):
		}
	}
}
