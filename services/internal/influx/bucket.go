package influx

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// PolicyLedger names the policy of the ledger, and MeasurementLedger its only
// measurement.
const (
	PolicyLedger      = "ledger"
	MeasurementLedger = "ledger"
)

// Bucket is a place where points are kept for a time.
type Bucket struct {
	Database, Policy string
	// Retention is how long points are kept, in event time; 0 means forever.
	// InfluxDB takes whole seconds, at least an hour.
	Retention time.Duration
}

// Name returns "database/policy".
func (b Bucket) Name() string { return b.Database + "/" + b.Policy }

// Ensure creates the bucket if it does not exist. It leaves an existing bucket
// as it is, so that a retention that people changed stays. InfluxDB 3 creates a
// database with the first write to it, so there is nothing to do.
func (c *Client) Ensure(ctx context.Context, b Bucket) error {
	// The first bucket creates the database, so the buckets take turns.
	c.ensuring.Lock()
	defer c.ensuring.Unlock()
	version, err := c.Ping(ctx)
	if err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(version, "1."):
		return c.ensurePolicy(ctx, b)
	case strings.HasPrefix(version, "2."):
		return c.ensureBucket(ctx, b)
	}
	return nil
}

func (c *Client) ensurePolicy(ctx context.Context, b Bucket) error {
	params := Params{"db": Ident(b.Database), "rp": Ident(b.Policy)}
	duration := "INF"
	if b.Retention > 0 {
		duration = fmt.Sprintf("%ds", int64(b.Retention/time.Second))
	}
	exists, policies, err := c.policies(ctx, b.Database)
	switch {
	case err != nil:
	case !exists:
		err = c.Exec(ctx, "", "CREATE DATABASE $db WITH DURATION "+duration+" REPLICATION 1 NAME $rp", params)
	case !policies[b.Policy]:
		err = c.Exec(ctx, "", "CREATE RETENTION POLICY $rp ON $db DURATION "+duration+" REPLICATION 1", params)
	}
	if err == nil {
		return nil
	}
	// Another writer may have created it in the meantime.
	if _, policies, again := c.policies(ctx, b.Database); again == nil && policies[b.Policy] {
		return nil
	}
	return b.failed(err)
}

// policies returns whether a database of InfluxDB 1.x exists, and the names of
// its retention policies.
func (c *Client) policies(ctx context.Context, database string) (exists bool, names map[string]bool, err error) {
	series, err := c.Query(ctx, "", "", "SHOW DATABASES", nil)
	if err != nil {
		return false, nil, err
	}
	if !firstColumn(series)[database] {
		return false, nil, nil
	}
	series, err = c.Query(ctx, "", "", "SHOW RETENTION POLICIES ON $db", Params{"db": Ident(database)})
	if err != nil {
		return true, nil, err
	}
	return true, firstColumn(series), nil
}

func firstColumn(series []Series) map[string]bool {
	out := make(map[string]bool)
	for _, s := range series {
		for _, row := range s.Values {
			if len(row) == 0 {
				continue
			}
			if name, ok := row[0].(string); ok {
				out[name] = true
			}
		}
	}
	return out
}

func (c *Client) ensureBucket(ctx context.Context, b Bucket) error {
	exists := func() (bool, error) {
		var found struct{ Buckets []struct{ ID string } }
		err := c.call(ctx, http.MethodGet, "api/v2/buckets", url.Values{"name": {b.Name()}, "org": {c.cfg.Org}}, nil, &found)
		return len(found.Buckets) > 0, err
	}
	// Some versions answer 404 for a name that does not exist.
	if ok, _ := exists(); ok {
		return nil
	}
	var found struct{ Orgs []struct{ ID string } }
	err := c.call(ctx, http.MethodGet, "api/v2/orgs", url.Values{"org": {c.cfg.Org}}, nil, &found)
	if err == nil && len(found.Orgs) == 0 {
		err = fmt.Errorf("there is no organisation %q, or the token may not see it; check --influx-org", c.cfg.Org)
	}
	if err != nil {
		return b.failed(err)
	}
	rules := []map[string]any{}
	if b.Retention > 0 {
		rules = append(rules, map[string]any{"type": "expire", "everySeconds": int64(b.Retention / time.Second)})
	}
	err = c.call(ctx, http.MethodPost, "api/v2/buckets", nil,
		map[string]any{"orgID": found.Orgs[0].ID, "name": b.Name(), "retentionRules": rules}, nil)
	if err == nil {
		return nil
	}
	// Another writer may have created it in the meantime.
	if ok, _ := exists(); ok {
		return nil
	}
	return b.failed(err)
}

// ErrKeeps is returned by Erase for an InfluxDB that deletes nothing but whole buckets.
var ErrKeeps = errors.New("this InfluxDB cannot delete the points of one device: they stay until their retention ends")

// Erase deletes the points of a device with an earlier time from all buckets of the database.
func (c *Client) Erase(ctx context.Context, site, device string, before time.Time) error {
	version, err := c.Ping(ctx)
	switch {
	case err != nil:
		return err
	case strings.HasPrefix(version, "1."):
		err := c.Exec(ctx, c.cfg.Database, `DELETE FROM /.*/ WHERE "site" = $site AND "device" = $device AND time < $before`,
			Params{"site": site, "device": device, "before": before})
		if err != nil && strings.Contains(err.Error(), "not found") { // nothing was written yet
			return nil
		}
		return err
	case !strings.HasPrefix(version, "2."):
		return ErrKeeps
	}
	var found struct{ Buckets []struct{ Name string } }
	if err := c.call(ctx, http.MethodGet, "api/v2/buckets", url.Values{"org": {c.cfg.Org}, "limit": {"100"}}, nil, &found); err != nil {
		return err
	}
	for _, b := range found.Buckets {
		if !strings.HasPrefix(b.Name, c.cfg.Database+"/") {
			continue
		}
		err := c.call(ctx, http.MethodPost, "api/v2/delete", url.Values{"org": {c.cfg.Org}, "bucket": {b.Name}}, map[string]string{
			"start": "1970-01-01T00:00:00Z", "stop": before.UTC().Format(time.RFC3339Nano),
			"predicate": fmt.Sprintf("site=%q AND device=%q", site, device), // both are tokens
		}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// call sends and receives JSON; in and out may be nil.
func (c *Client) call(ctx context.Context, method, path string, params url.Values, in, out any) error {
	op := method + " " + path
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	resp, err := c.do(ctx, method, path, params, body)
	if err != nil {
		return c.wrap(op, err)
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, c.maxAnswer)).Decode(out); err != nil {
		return c.wrap(op, err)
	}
	return nil
}

// failed says what people can do when a bucket cannot be created.
func (b Bucket) failed(err error) error {
	var e *Error
	if errors.As(err, &e) && e.Status >= 400 && e.Status < 500 {
		return fmt.Errorf("create bucket %s (create it yourself, or set --influx-token-file to a token that may): %w", b.Name(), err)
	}
	return fmt.Errorf("create bucket %s: %w", b.Name(), err)
}
