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
	"headwater/services/edge"
	"headwater/services/gateway"
	"headwater/services/internal/certs"
	"headwater/services/internal/oidc"
	"headwater/services/internal/process"
	"headwater/services/notifier"
	"headwater/services/processor"
	"headwater/services/writer"
	"headwater/streams"
	"headwater/streams/natsd"
)

// Durability profiles that a single process supports.
const (
	PowerSafe = streams.PowerSafe
	Fast      = streams.Fast
)

// frontOn is the value of --mqtt-front with which devices connect to the front.
const frontOn = "on"

// Config says how standalone runs. Flags without a group are those that most people
// need; help lists them first.
type Config struct {
	Data               string             `help:"Folder of everything that is kept; headwater in your data folder by default." placeholder:"DIR" type:"path"`
	HTTP               string             `name:"http" help:"Address of the dashboard, the API and POST /api/v1/telemetry." default:"127.0.0.1:8080"`
	MQTT               string             `name:"mqtt" help:"Address on which devices connect." default:"127.0.0.1:1883"`
	Durability         streams.Durability `enum:"power-safe,fast,replicated" default:"power-safe"`
	Demo               *bool              `negatable:""`
	Join               string             `help:"Belong to a centre: the line of headwater edge invite, or @FILE with it. Remembered." placeholder:"LINE" group:"Edge:"`
	Edge               edge.Config        `embed:"" group:"Edge:"`
	File               configfile.Config  `embed:""`
	process.ModeConfig `embed:""`
	Lanes              int `help:"Number of lanes, fixed when the data folder is new." default:"0" hidden:""`

	TLS               certs.Config       `embed:"" group:"TLS:"`
	Hosts             process.HostConfig `embed:"" group:"Dashboard:"`
	SetUpLink         bool               `name:"set-up-link" help:"Print a link with which you become an administrator, once, within 1 hour." group:"Dashboard:"`
	OIDC              oidc.Config        `embed:"" prefix:"oidc-" group:"Dashboard:"`
	StreamsPerAddress int                `help:"Open pages that one address (or proxy) may have, of 1,000 in all." default:"64" group:"Dashboard:"`
	Profiles          bool               `help:"Serve /debug/pprof as well." group:"Dashboard:"`
	DiskShare         int                `default:"50" group:"Disk:"`

	Front     string           `name:"mqtt-front" enum:"on,off" default:"on" group:"MQTT:"`
	Bridge    bridge.Config    `embed:"" group:"MQTT:"`
	Gateway   gateway.Config   `embed:"" prefix:"http-" group:"Readings over HTTP:"`
	Processor processor.Config `embed:"" group:"Windows and rules:"`
	Notifier  notifier.Config  `embed:"" group:"Notifications:"`
	Writer    writer.Config    `embed:"" group:"InfluxDB and history:"`

	// Unsafe leaves acknowledged readings off the disk for minutes. Only the test of
	// power cuts sets it, to prove that it would notice a loss. It has no environment
	// variable, and help does not show it.
	Unsafe bool `name:"lose-readings-at-a-power-cut" hidden:"" env:"-"`

	// Started is called with the addresses in use when everything runs. It may be nil.
	Started func(Addresses) `kong:"-"`
	// Announce is called with a set-up link; nil prints it.
	Announce func(link string) `kong:"-"`
}

// FlagHelp returns the help that is too long for a tag, by field.
func (Config) FlagHelp() map[string]string {
	return map[string]string{
		"Durability": "What a power cut leaves of the acknowledged readings: power-safe (all of them) or fast (all but " +
			"about the last second; worth it only where a sync of the disk takes 10 ms or more, as on SD cards, slow " +
			"flash and spinning disks). The third profile, replicated, needs a cluster: see deploy/README.md.",
		"Demo": "Run a warehouse of 20 simulated door sensors at the site demo, with two rules for them. The data " +
			"folder remembers it; --no-demo ends it and removes its devices, and its rules unless you changed them.",
		"Front": "Whether devices connect to Headwater's own front: on or off. It takes MQTT 3.1, 3.1.1 and 5, and any " +
			"client id and topic. When it is off, they connect to nats-server, which takes MQTT 3.1.1 only.",
		"DiskShare": "Per cent of the disk that Headwater may take: a fifth of it bounds the streams (64 MiB to " +
			"64 GiB), the rest is for InfluxDB, whose size is watched but not cut. Another 5 per cent of the disk " +
			"(2 GiB at most) must stay free, or readings are refused.",
	}
}

// Addresses are those of a running standalone.
type Addresses struct {
	// HTTP and Influx are URLs, MQTT is host:port. Influx contains the token of the
	// embedded InfluxDB as its password, so it must not be logged.
	HTTP, MQTT, Influx string
}

// Validate reports every problem of the flags that are standalone's own. The services
// report theirs.
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
		problems = append(problems, fmt.Errorf("--disk-share: %d is not between 1 and 90", c.DiskShare))
	}
	if c.Durability == streams.Replicated {
		problems = append(problems, errors.New("--durability: replicated needs a cluster of three nats-servers, with the services as processes of their own: see deploy/README.md"))
	}
	return errors.Join(problems...)
}

// DefaultConfig returns the configuration without any flags.
func DefaultConfig() Config {
	c := process.Defaults[Config]()
	c.Writer.Influx.URL = ""
	return c
}

// HealthAddress is the address of /readyz.
func (c Config) HealthAddress() string { return c.HTTP }

// folder is the data folder.
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
