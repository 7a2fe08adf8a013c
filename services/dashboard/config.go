package dashboard

import (
	"errors"
	"fmt"

	"headwater/services/internal/influx"
	"headwater/services/internal/process"
)

// Config are the settings of a dashboard.
type Config struct {
	Influx influx.Config `embed:"" prefix:"influx-"`
	// PublicMQTT is shown to people who have no device yet.
	StreamsPerAddress int    `help:"Live streams, which is open pages, that one address may have of the 1,000 there are; all people behind one proxy or router share an address." default:"64" env:"HEADWATER_STREAMS_PER_ADDRESS"`
	PublicMQTT        string `name:"public-mqtt" help:"host:port of the MQTT listener as devices reach it, for the first steps that an empty dashboard shows." default:"" env:"HEADWATER_PUBLIC_MQTT"`
	// Exposed says in words where other machines can reach the pages without a
	// log-in; empty when none can.
	Exposed string `kong:"-"`
}

// DefaultConfig returns the defaults of the flags.
func DefaultConfig() Config { return process.Defaults[Config]() }

// Validate returns all errors of the configuration, joined.
func (c Config) Validate() error {
	err := c.Influx.Validate()
	if c.StreamsPerAddress < 1 {
		err = errors.Join(err, fmt.Errorf("--streams-per-address: %d is less than 1", c.StreamsPerAddress))
	}
	return err
}
