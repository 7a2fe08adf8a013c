package writer

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"time"

	"headwater/services/internal/influx"
	"headwater/services/writer/point"
)

// History is what one series measured before Headwater heard of it.
type History struct {
	point.Series
	// Readings are in the order of their times.
	Readings []point.Reading
}

// importedSource is the source of imported readings in the ledger.
const importedSource = "import"

// arrivedAlone is how long before the end of a history each of its readings has a minute
// of arrival of its own in the ledger. Those before arrived together with the others of
// their hour.
const arrivedAlone = 2 * time.Hour

// Import stores histories that did not come through the streams: their readings, the
// roll-ups to hours and days of UTC that ended by the given time, and entries of the
// ledger, in which each reading counts as received. It may be repeated, which changes
// nothing. Errors are those of InfluxDB.
func Import(ctx context.Context, cfg Config, until time.Time, histories []History) error {
	client, err := influx.New(cfg.Influx)
	if err != nil {
		return err
	}
	defer client.Close()
	for _, step := range []struct {
		bucket influx.Bucket
		points func(dst []byte, h History) []byte
	}{
		{cfg.bucket(raw), appendReadings},
		{cfg.bucket("1h"), func(dst []byte, h History) []byte { return appendRollUp(dst, h, time.Hour, until) }},
		{cfg.bucket("1d"), func(dst []byte, h History) []byte { return appendRollUp(dst, h, 24*time.Hour, until) }},
		{cfg.ledger(), appendArrivals},
	} {
		if err := client.Ensure(ctx, step.bucket); err != nil {
			return err
		}
		var buffer []byte
		for _, h := range histories {
			buffer = step.points(buffer[:0], h)
			for lines := buffer; len(lines) > 0; {
				part := lines[:endOfLine(lines, maxImport)]
				if err := client.Write(ctx, step.bucket.Name(), string(part)); err != nil {
					return fmt.Errorf("import %s/%s: %w", h.Site, h.Device, err)
				}
				lines = lines[len(part):]
			}
		}
	}
	return nil
}

// maxImport bounds one request, in bytes.
const maxImport = 1 << 20

// endOfLine returns the length of the whole lines that fit into most bytes, or of the
// first line.
func endOfLine(lines []byte, most int) int {
	if len(lines) <= most {
		return len(lines)
	}
	if end := bytes.LastIndexByte(lines[:most], '\n'); end >= 0 {
		return end + 1
	}
	return bytes.IndexByte(lines, '\n') + 1
}

func appendReadings(dst []byte, h History) []byte {
	prefix := point.AppendValuePrefix(nil, h.Series)
	for _, r := range h.Readings {
		dst = point.AppendValue(dst, prefix, r.Value, r.Time)
	}
	return dst
}

// appendRollUp appends the summaries of the windows that ended by a time.
func appendRollUp(dst []byte, h History, width time.Duration, until time.Time) []byte {
	for start, window := range spans(h.Readings, width) {
		if start+int64(width) > until.UnixNano() {
			break
		}
		s := point.Summarise(window)
		s.Series, s.Time, s.Revision = h.Series, start, 1
		dst = point.AppendSummary(dst, &s)
	}
	return dst
}

// appendArrivals appends the entries of the ledger.
func appendArrivals(dst []byte, h History) []byte {
	if len(h.Readings) == 0 {
		return dst
	}
	alone := h.Readings[len(h.Readings)-1].Time - int64(arrivedAlone)
	split := 0
	for split < len(h.Readings) && h.Readings[split].Time < alone {
		split++
	}
	for _, part := range []struct {
		readings []point.Reading
		width    time.Duration
	}{{h.Readings[:split], time.Hour}, {h.Readings[split:], time.Minute}} {
		for start, window := range spans(part.readings, part.width) {
			dst = point.AppendEntry(dst, &point.Entry{
				Site: h.Site, Device: h.Device, Source: importedSource, Minute: start, Readings: uint64(len(window)),
				// An hour and a minute may begin together.
				Key: uint64(part.width / time.Minute),
			})
		}
	}
	return dst
}

// spans yields the readings of each window that has any, with its start.
func spans(readings []point.Reading, width time.Duration) iter.Seq2[int64, []point.Reading] {
	return func(yield func(int64, []point.Reading) bool) {
		for len(readings) > 0 {
			start := readings[0].Time - readings[0].Time%int64(width)
			n := 1
			for n < len(readings) && readings[n].Time-start < int64(width) {
				n++
			}
			if !yield(start, readings[:n]) {
				return
			}
			readings = readings[n:]
		}
	}
}
