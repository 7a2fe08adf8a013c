package dashboard

import (
	"errors"
	"fmt"

	"headwater/services/internal/influx"
	"headwater/services/internal/oidc"
	"headwater/services/internal/process"
	"headwater/web/trust"
)

// Config are the settings of a dashboard.
type Config struct {
	Influx    influx.Config `embed:"" prefix:"influx-"`
	OIDC      oidc.Config   `embed:"" prefix:"oidc-"`
	SetUpLink bool          `name:"set-up-link" help:"Print a link with which you become an administrator, once, within 1 hour."`
	// PublicMQTT is shown to people who have no device yet.
	StreamsPerAddress int    `help:"Open pages that one address (or proxy) may have, of 1,000 in all." default:"64"`
	PublicMQTT        string `name:"public-mqtt" help:"host:port of MQTT as devices reach it; mqtts:// before it for TLS." default:""`
	// Authority is what people and devices are to trust; empty if there is nothing.
	Authority trust.Authority `kong:"-"`
	// Exposed says in words where other machines can reach the pages without a
	// log-in; empty when none can.
	Exposed string `kong:"-"`
	// Address is where people reach the pages, for the set-up link.
	Address string `kong:"-"`
	// RequireLogIn requires a log-in even while nobody has an account.
	RequireLogIn bool `kong:"-"`
}

// DefaultConfig returns the defaults of the flags.
func DefaultConfig() Config { return process.Defaults[Config]() }

// Validate returns all errors of the configuration, joined.
func (c Config) Validate() error {
	err := errors.Join(c.Influx.Validate(), c.OIDC.Validate())
	if c.StreamsPerAddress < 1 {
		err = errors.Join(err, fmt.Errorf("--streams-per-address: %d is less than 1", c.StreamsPerAddress))
	}
	return err
}
