package dashboard

import (
	"headwater/services/internal/influx"
	"headwater/services/internal/process"
)

// Config are the settings of a dashboard.
type Config struct {
	Influx influx.Config `embed:"" prefix:"influx-"`
	// PublicMQTT is shown to people who have no device yet.
	PublicMQTT string `name:"public-mqtt" help:"host:port of the MQTT listener as devices reach it, for the page that tells how to begin." default:"" env:"HEADWATER_PUBLIC_MQTT"`
}

// DefaultConfig returns the defaults of the flags.
func DefaultConfig() Config { return process.Defaults[Config]() }

// Validate returns all that is wrong with the configuration, joined.
func (c Config) Validate() error { return c.Influx.Validate() }
