// Package past counts and reads the readings that are in the history, for the comparison of
// an edge with its centre and for its repair. Both sides count in the same way.
package past

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/influx"
	"headwater/services/internal/uplink"
	"headwater/streams"
)

const (
	// rawPolicy is the retention policy of the readings.
	rawPolicy = "raw"
	// countedAtOnce bounds the time of which one query counts.
	countedAtOnce = 24 * time.Hour
)

// Query is what is counted.
type Query struct {
	// From and To are whole hours.
	From, To time.Time
	// Sites are those whose readings count; empty for all.
	Sites []string
	// Leave are metrics that do not count: those that are derived.
	Leave map[string]bool
}

// Count adds the readings of the history to a tally. Errors are those of InfluxDB.
func Count(ctx context.Context, client *influx.Client, q Query, to *uplink.Tally) error {
	where := ""
	if len(q.Sites) > 0 {
		for _, site := range q.Sites {
			if !streams.ValidToken(site) {
				return fmt.Errorf("%q is not the name of a site", site)
			}
		}
		where = ` AND "site" =~ /^(` + strings.Join(q.Sites, "|") + `)$/`
	}
	for from := q.From; from.Before(q.To); from = from.Add(countedAtOnce) {
		until := from.Add(countedAtOnce)
		if until.After(q.To) {
			until = q.To
		}
		series, err := query(ctx, client, `SELECT count(*) FROM /.*/ WHERE time >= $from AND time < $to`+where+` GROUP BY time(1h), "site", "device" fill(none)`,
			influx.Params{"from": from, "to": until})
		if err != nil {
			return err
		}
		for _, s := range series {
			if q.Leave[s.Name] {
				continue
			}
			k := telemetryv1.Key{Site: s.Tags["site"], Device: s.Tags["device"], Metric: s.Name}
			for _, column := range s.Columns {
				for i, n := range s.Floats(column) {
					if n > 0 { // not if it is not a number
						to.Add(k, time.Unix(0, s.Times[i]), uint64(n))
					}
				}
			}
		}
	}
	return nil
}

// query queries the readings. Before the first one there is no database.
func query(ctx context.Context, client *influx.Client, text string, params influx.Params) ([]influx.Series, error) {
	series, err := client.Query(ctx, client.Database(), rawPolicy, text, params)
	if err != nil && strings.Contains(err.Error(), "not found") {
		return nil, nil
	}
	return series, err
}

// Read returns the readings of a device of [from, to), in batches of at most so many, each
// series in the order of its times. Leave is as in Query. Errors are those of InfluxDB;
// influx.ErrTooLarge asks for a shorter time.
func Read(ctx context.Context, client *influx.Client, of uplink.Piece, leave map[string]bool, most int) ([]*telemetryv1.Batch, error) {
	series, err := query(ctx, client, `SELECT "value", "flag", "text" FROM /.*/ WHERE "site" = $site AND "device" = $device AND time >= $from AND time < $to GROUP BY "unit"`,
		influx.Params{"site": of.Site, "device": of.Device, "from": time.Unix(of.From, 0), "to": time.Unix(of.Until, 0)})
	if err != nil {
		return nil, err
	}
	var out []*telemetryv1.Batch
	var b telemetryv1.Builder
	for _, s := range series {
		k := telemetryv1.Key{Site: of.Site, Device: of.Device, Metric: s.Name, Unit: s.Tags["unit"]}
		if leave[s.Name] || !streams.ValidToken(s.Name) {
			continue
		}
		for i, row := range s.Values {
			for _, v := range row {
				add(&b, k, s.Times[i], v)
			}
			if b.Len() >= most-2 { // a row has at most three readings
				out = append(out, b.Take(0))
			}
		}
	}
	if !b.Empty() {
		out = append(out, b.Take(0))
	}
	return out, nil
}

func add(to *telemetryv1.Builder, k telemetryv1.Key, at int64, v any) {
	switch v := v.(type) {
	case float64:
		if !math.IsNaN(v) {
			to.Value(k, at, v)
		}
	case bool:
		k.Unit = ""
		to.Flag(k, at, v)
	case string:
		k.Unit = ""
		to.Text(k, at, v)
	}
}
