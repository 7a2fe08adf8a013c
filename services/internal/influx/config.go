package influx

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"
)

// Config says where InfluxDB is and which token to use.
type Config struct {
	// URL may be empty for Validate, because it is optional where InfluxDB is. New
	// requires it.
	URL       string        `name:"url" help:"Where InfluxDB answers; without it, standalone runs one." default:"${influx_url=http://127.0.0.1:8086}"`
	Org       string        `name:"org" help:"Organisation, for InfluxDB 2 and 3; 1.8 ignores it." default:"headwater"`
	Token     Secret        `name:"token" help:"Token, or user:password for InfluxDB 1.8; better in a file."`
	TokenFile string        `name:"token-file" help:"File that holds the token; a new one needs no restart."`
	Database  string        `name:"database" help:"First part of the names of the buckets, as in headwater/raw." default:"headwater"`
	Timeout   time.Duration `name:"timeout" help:"How long one request may take." default:"30s"`
}

// Validate returns all problems of the configuration, joined.
func (c Config) Validate() error {
	var errs []error
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		errs = append(errs, fmt.Errorf("influx-url: %w", err))
	case c.URL == "":
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		errs = append(errs, fmt.Errorf("influx-url: %q is not of the form http://host:port", c.URL))
	}
	if c.Token != "" && c.TokenFile != "" {
		errs = append(errs, errors.New("influx-token and influx-token-file: give one of them"))
	}
	if c.Database == "" || strings.ContainsAny(c.Database, "/\"\\\n") {
		errs = append(errs, fmt.Errorf("influx-database: %q is empty or has a character that is not allowed in the name of a bucket", c.Database))
	}
	if c.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("influx-timeout: %v is not positive", c.Timeout))
	}
	return errors.Join(errs...)
}

// Secret is a text that logs never show.
type Secret string

// LogValue hides the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// String hides the secret; convert it to a string to use it.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(hidden)"
}
