package simulator

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"headwater/services/internal/process"
	"headwater/services/simulator/warehouse"
	"headwater/streams"
)

// Config describes the fleet and where it reports.
type Config struct {
	MQTT         []string `name:"mqtt" default:"tcp://127.0.0.1:1883" env:"HEADWATER_SIMULATOR_MQTT"`
	User         string   `help:"User name with which the devices log in; empty for none." env:"HEADWATER_SIMULATOR_USER"`
	PasswordFile string   `help:"File that holds the password." type:"path" env:"HEADWATER_SIMULATOR_PASSWORD_FILE"`
	Site         string   `help:"Site of all the devices." default:"warehouse" env:"HEADWATER_SIMULATOR_SITE"`
	Devices      int      `help:"Number of devices." default:"20" env:"HEADWATER_SIMULATOR_DEVICES"`
	Connections  int      `help:"Connections that the devices share, one each at most." default:"10" env:"HEADWATER_SIMULATOR_CONNECTIONS"`
	QoS          int      `name:"qos" help:"Quality of service: 0 (best effort) or 1 (acknowledged)." default:"1" env:"HEADWATER_SIMULATOR_QOS"`
	InFlight     int      `help:"Readings of a connection that may wait to be acknowledged." default:"20" env:"HEADWATER_SIMULATOR_IN_FLIGHT"`
	Payload      string   `default:"object" enum:"object,number" env:"HEADWATER_SIMULATOR_PAYLOAD"`

	Interval time.Duration `default:"0s" env:"HEADWATER_SIMULATOR_INTERVAL"`
	Rate     float64       `help:"Readings a second of all devices together, in place of an interval." default:"0" env:"HEADWATER_SIMULATOR_RATE"`
	Unpaced  bool          `help:"Send as fast as the acknowledgements allow." env:"HEADWATER_SIMULATOR_UNPACED"`
	Duration time.Duration `help:"Stop after this time; 0 for never." default:"0s" env:"HEADWATER_SIMULATOR_DURATION"`
	Count    int64         `help:"Stop after this many readings; 0 for never." default:"0" env:"HEADWATER_SIMULATOR_COUNT"`

	Warehouse     bool          `default:"true" negatable:"" env:"HEADWATER_SIMULATOR_WAREHOUSE"`
	Seed          uint64        `help:"Selects one of many similar warehouses." default:"1" env:"HEADWATER_SIMULATOR_SEED"`
	LeftOpenAfter time.Duration `help:"Leave a door open this long after the start; 0 for never." default:"0s" env:"HEADWATER_SIMULATOR_LEFT_OPEN_AFTER"`
	LeftOpenEvery time.Duration `help:"Mean time between two doors left open; 0 for never." default:"12h" env:"HEADWATER_SIMULATOR_LEFT_OPEN_EVERY"`
	LeftOpenFor   time.Duration `help:"How long such a door stays open on average." default:"90m" env:"HEADWATER_SIMULATOR_LEFT_OPEN_FOR"`

	// Began is when the demo began that has a past: one of its sensors drifts and one is
	// silent. Without it, all are well.
	Began time.Time `kong:"-"`
	// Backlog reports whether the devices begin with what they measured in the quarter of
	// an hour before.
	Backlog bool `kong:"-"`
}

// FlagHelp returns the help that is too long for a tag, by field.
func (Config) FlagHelp() map[string]string {
	return map[string]string{
		"MQTT":      "Where the devices report: tcp://host:port, or ssl:// for TLS; separate the servers of a cluster by commas.",
		"Payload":   "Form of a reading: object (value, time and unit) or number (its time is that of its arrival).",
		"Interval":  "How often each device reports; 0 leaves it to the device: every second, 30 seconds, minute or 5 minutes.",
		"Warehouse": "Model temperatures at the doors of a warehouse; otherwise each device reports a plain wave, which costs less.",
	}
}

// Forms of a payload.
const (
	PayloadObject = "object"
	PayloadNumber = "number"
)

// DemoSite is the site of the demo's devices. Real devices should not use it, because
// ending the demo removes all its data.
const DemoSite = "demo"

// DefaultConfig is the warehouse of 20 devices at their own intervals. They report to the
// MQTT port of this machine.
func DefaultConfig() Config { return process.Defaults[Config]() }

// Demo is the warehouse for newcomers: every device reports every 2 seconds over a
// connection of its own. A door is left open 20 seconds after the start, and then one
// about every 10 minutes, for a few minutes. Began is when it began, if it has the past
// that DemoPast returns; zero if it has none.
func Demo(broker string, began time.Time) Config {
	cfg := DefaultConfig()
	cfg.MQTT = []string{broker}
	cfg.Site = DemoSite
	cfg.Connections = cfg.Devices
	if cfg.Began = began; !began.IsZero() {
		cfg.Connections-- // one is silent
	}
	cfg.Interval = 2 * time.Second
	cfg.LeftOpenAfter = 20 * time.Second
	cfg.LeftOpenEvery = 10 * time.Minute
	cfg.LeftOpenFor = 4 * time.Minute
	return cfg
}

// Schemes of the address of the server.
var (
	tcpSchemes = []string{"tcp", "mqtt"}
	tlsSchemes = []string{"ssl", "tls", "mqtts"}
)

// Bounds of a fleet: what one process can manage, and what MQTT's message ids can
// distinguish.
const (
	maxDevices     = 1_000_000
	maxConnections = 10_000
	maxInFlight    = 60_000
)

// Validate reports every problem of the configuration.
func (c Config) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	between := func(flag string, n, low, high int) {
		if n < low || n > high {
			wrong("--%s: %d: must be %d to %d", flag, n, low, high)
		}
	}
	if len(c.MQTT) == 0 {
		wrong("--mqtt: is missing")
	}
	for _, server := range c.MQTT {
		broker, err := url.Parse(server)
		if err != nil || broker.Port() == "" || !slices.Contains(tcpSchemes, broker.Scheme) && !slices.Contains(tlsSchemes, broker.Scheme) {
			wrong("--mqtt: %q: must be like tcp://127.0.0.1:1883, or ssl:// for TLS", server)
		}
	}
	if !streams.ValidToken(c.Site) {
		wrong("--site: %q: must be 1 to 64 letters, digits, - or _", c.Site)
	}
	between("devices", c.Devices, 1, maxDevices)
	between("connections", c.Connections, 1, maxConnections)
	between("qos", c.QoS, 0, 1)
	between("in-flight", c.InFlight, 1, maxInFlight)
	if c.Payload != PayloadObject && c.Payload != PayloadNumber {
		wrong("--payload: %q: must be %s or %s", c.Payload, PayloadObject, PayloadNumber)
	}
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{
		{"interval", c.Interval},
		{"duration", c.Duration},
		{"left-open-after", c.LeftOpenAfter},
		{"left-open-every", c.LeftOpenEvery},
		{"left-open-for", c.LeftOpenFor},
	} {
		if d.value < 0 {
			wrong("--%s: %v: must not be negative", d.flag, d.value)
		}
	}
	errs = append(errs, c.validatePace()...)
	if c.LeftOpenEvery > 0 && c.LeftOpenEvery < warehouse.MinLeftOpenEvery {
		wrong("--left-open-every: %v: must be %v at least, or 0 for never", c.LeftOpenEvery, warehouse.MinLeftOpenEvery)
	}
	if (c.LeftOpenEvery > 0 || c.LeftOpenAfter > 0) && c.LeftOpenFor == 0 {
		wrong("--left-open-for: must be above 0")
	}
	return errors.Join(errs...)
}

// validatePace reports every problem of how often the devices report.
func (c Config) validatePace() []error {
	var errs []error
	chosen := 0
	for _, given := range []bool{c.Interval > 0, c.Rate != 0, c.Unpaced} {
		if given {
			chosen++
		}
	}
	if chosen > 1 {
		errs = append(errs, errors.New("--interval, --rate and --unpaced exclude one another"))
	}
	if c.Rate < 0 || c.Devices > 0 && c.Rate/float64(c.Devices) > 10_000 {
		errs = append(errs, fmt.Errorf("--rate: %v: must be 0 to 10000 a device", c.Rate))
	}
	if c.Interval > 0 && c.Interval < 100*time.Microsecond {
		errs = append(errs, fmt.Errorf("--interval: %v: must be 100µs at least", c.Interval))
	}
	if c.Count < 0 {
		errs = append(errs, fmt.Errorf("--count: %d: must not be negative", c.Count))
	}
	return errs
}
