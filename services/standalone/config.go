package main

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"

	"github.com/adrg/xdg"

	"headwater/services/bridge"
	"headwater/services/configfile"
	"headwater/services/gateway"
	"headwater/services/internal/process"
	"headwater/services/notifier"
	"headwater/services/processor"
	"headwater/services/writer"
	"headwater/streams"
	"headwater/streams/natsd"
)

// Profiles of durability that one process can hold.
const (
	PowerSafe = streams.PowerSafe
	Fast      = streams.Fast
)

// Config says how standalone runs.
type Config struct {
	Data       string             `help:"Folder of everything that is kept; by default headwater in your data folder." placeholder:"DIR" type:"path" env:"HEADWATER_DATA"`
	HTTP       string             `name:"http" help:"Address of the dashboard and of POST /api/v1/telemetry." default:"127.0.0.1:8080" env:"HEADWATER_HTTP"`
	MQTT       string             `name:"mqtt" help:"Address on which devices connect." default:"127.0.0.1:1883" env:"HEADWATER_MQTT"`
	Durability streams.Durability `help:"What is on the disk before a device is told so: power-safe (all of it) or fast (all but the last second, should the power fail; worth it where the disk takes 10 ms or more to sync). The third profile, replicated, needs a cluster: see deploy/README.md." enum:"power-safe,fast,replicated" default:"power-safe" env:"HEADWATER_DURABILITY"`
	Demo       *bool              `help:"Run a warehouse of 20 simulated door sensors at the site demo, with two rules for them. It is remembered in the data folder; --no-demo ends it and removes its devices, and its rules unless you changed them." negatable:"" env:"HEADWATER_DEMO"`
	Lanes      int                `help:"Number of lanes, fixed when the data folder is new." default:"0" hidden:"" env:"HEADWATER_LANES"`
	DiskShare  int                `help:"Per cent of the disk that Headwater should take: a fifth of it bounds the streams (64 MiB to 64 GiB), the rest is for InfluxDB, which is watched and not cut. 5 per cent of the disk (2 GiB at most) must be free as well, or readings are refused." default:"50" env:"HEADWATER_DISK_SHARE"`
	Profiles   bool               `help:"Serve /debug/pprof as well." env:"HEADWATER_PROFILES"`

	Hosts             process.HostConfig `embed:""`
	StreamsPerAddress int                `help:"Live streams, which is open pages, that one address may have of the 1,000 there are; all people behind one proxy or router share an address." default:"64" env:"HEADWATER_STREAMS_PER_ADDRESS"`

	File      configfile.Config `embed:""`
	Bridge    bridge.Config     `embed:""`
	Gateway   gateway.Config    `embed:"" prefix:"http-"`
	Processor processor.Config  `embed:""`
	Notifier  notifier.Config   `embed:""`
	Writer    writer.Config     `embed:""`

	// Unsafe leaves acknowledged readings off the disk for minutes. Only the
	// harness of power cuts sets it, to prove that it sees a loss; there is no
	// variable of the environment for it and help does not tell of it.
	Unsafe bool `name:"lose-readings-at-a-power-cut" hidden:""`

	// Started is called once everything runs, with the addresses in use. It may
	// be nil.
	Started func(Addresses) `kong:"-"`
}

// Addresses are where a running standalone answers.
type Addresses struct {
	// HTTP and Influx are URLs, MQTT is host:port. Influx holds the token of the
	// embedded InfluxDB as a password, so it must not be logged.
	HTTP, MQTT, Influx string
}

// Validate reports every problem of the configuration. The services report
// their own.
func (c Config) Validate() error {
	var problems []error
	for flag, address := range map[string]string{"http": c.HTTP, "mqtt": c.MQTT} {
		_, port, err := net.SplitHostPort(address)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("--%s: %q is not host:port", flag, address))
		}
	}
	if c.DiskShare < 1 || c.DiskShare > 90 {
		problems = append(problems, fmt.Errorf("--disk-share: %d is not within 1 and 90", c.DiskShare))
	}
	if c.Durability == streams.Replicated {
		problems = append(problems, errors.New("--durability: replicated needs a cluster of three nats-servers, with the services as processes of their own: see deploy/README.md"))
	}
	return errors.Join(problems...)
}

// DefaultConfig returns the configuration of a standalone that nobody
// configured.
func DefaultConfig() Config {
	c := process.Defaults[Config]()
	c.Writer.Influx.URL = ""
	return c
}

// HealthAddress is where the process answers for its health.
func (c Config) HealthAddress() string { return c.HTTP }

// folder is where everything is kept.
func (c Config) folder() string {
	if c.Data != "" {
		return c.Data
	}
	return filepath.Join(xdg.DataHome, "headwater")
}

func (c Config) sync() natsd.Sync {
	if c.Unsafe {
		return natsd.SyncUnsafe
	}
	if c.Durability == Fast {
		return natsd.SyncSecond
	}
	return natsd.SyncAlways
}
