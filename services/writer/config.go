package writer

import (
	"errors"
	"fmt"
	"time"

	"headwater/services/internal/influx"
	"headwater/services/internal/process"
)

// Config says where the history goes and how it is batched.
type Config struct {
	Influx influx.Config `embed:"" prefix:"influx-"`

	BatchPoints   int           `name:"writer-batch" help:"Points of one request to InfluxDB." default:"5000" env:"HEADWATER_WRITER_BATCH"`
	FlushInterval time.Duration `name:"writer-flush" help:"How long points may wait for their request to fill." default:"250ms" env:"HEADWATER_WRITER_FLUSH"`
	InFlight      int           `name:"writer-in-flight" help:"Requests with readings that may run at once." default:"2" env:"HEADWATER_WRITER_IN_FLIGHT"`

	RetentionRaw    time.Duration `name:"retention-raw" help:"How long new databases keep readings; 0 is for ever." default:"2160h" env:"HEADWATER_RETENTION_RAW"`
	RetentionFine   time.Duration `name:"retention-10s" help:"How long new databases keep summaries of windows shorter than a minute; 0 is for ever." default:"720h" env:"HEADWATER_RETENTION_10S"`
	RetentionCoarse time.Duration `name:"retention-1m" help:"How long new databases keep summaries of windows shorter than an hour; 0 is for ever. Longer windows are kept for ever." default:"8760h" env:"HEADWATER_RETENTION_1M"`
	RetentionLedger time.Duration `name:"retention-ledger" help:"How long new databases keep the ledger, which accounts for every reading; 0 is for ever." default:"2160h" env:"HEADWATER_RETENTION_LEDGER"`
}

// DefaultConfig returns the defaults: 90 days of readings, 30 days of summaries
// of seconds, a year of summaries of minutes.
func DefaultConfig() Config { return process.Defaults[Config]() }

// maxInFlight is no more than a small computer can bear: each request in
// flight holds a batch in memory.
const maxInFlight = 16

// minRetention is the shortest that InfluxDB takes.
const minRetention = time.Hour

// Validate returns all that is wrong with the configuration, joined.
func (c Config) Validate() error {
	errs := []error{c.Influx.Validate()}
	between := func(flag string, v, low, high int) {
		if v < low || v > high {
			errs = append(errs, fmt.Errorf("--%s must be from %d to %d, not %d", flag, low, high, v))
		}
	}
	between("writer-batch", c.BatchPoints, 1, 100_000)
	between("writer-in-flight", c.InFlight, 1, maxInFlight)
	if c.FlushInterval < time.Millisecond || c.FlushInterval > 10*time.Second {
		errs = append(errs, fmt.Errorf("--writer-flush must be from 1ms to 10s, not %v", c.FlushInterval))
	}
	retention := func(flag string, v time.Duration) {
		if v != 0 && v < minRetention {
			errs = append(errs, fmt.Errorf("--%s must be 0 or at least %v, not %v", flag, minRetention, v))
		}
	}
	retention("retention-raw", c.RetentionRaw)
	retention("retention-10s", c.RetentionFine)
	retention("retention-1m", c.RetentionCoarse)
	retention("retention-ledger", c.RetentionLedger)
	return errors.Join(errs...)
}

// raw is the policy of the readings.
const raw = "raw"

// bucket returns the bucket of the summaries of windows of a width, named for
// it, such as headwater/1m; width 0 is that of the readings.
func (c Config) bucket(width time.Duration) influx.Bucket {
	b := influx.Bucket{Database: c.Influx.Database, Policy: policy(width)}
	switch {
	case width == 0:
		b.Retention = c.RetentionRaw
	case width < time.Minute:
		b.Retention = c.RetentionFine
	case width < time.Hour:
		b.Retention = c.RetentionCoarse
	}
	return b
}

// ledger is the bucket of the ledger.
func (c Config) ledger() influx.Bucket {
	return influx.Bucket{Database: c.Influx.Database, Policy: influx.PolicyLedger, Retention: c.RetentionLedger}
}

// policy names a width by its largest whole unit.
func policy(width time.Duration) string {
	if width == 0 {
		return raw
	}
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}} {
		if width%unit.size == 0 {
			return fmt.Sprintf("%d%s", width/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%dns", width)
}
