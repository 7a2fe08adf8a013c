// Command provision creates the streams, keeps the configuration file in force and
// removes what is no longer needed. One is enough; more do no harm.
package main

import (
	"context"
	"os"

	"headwater/services/configfile"
	"headwater/services/internal/process"
	"headwater/streams"
)

type config struct {
	process.AdminConfig `embed:""`
	process.NATSConfig  `embed:""`
	File                configfile.Config `embed:""`

	Durability streams.Durability `enum:"power-safe,fast,replicated" default:"power-safe"`
	Lanes      int                `help:"Number of lanes, which can't be changed later; 0 keeps the number, or creates 8 (replicated: 32)." default:"0"`
	MaxBytes   int64              `help:"What all streams together may take on the disk, in bytes." default:"8589934592"`
	Once       bool               `help:"Create the streams and exit."`
}

// FlagHelp returns the help that is too long for a tag, by field.
func (config) FlagHelp() map[string]string {
	return map[string]string{
		"Durability": "What an acknowledged reading survives: replicated keeps three copies of each stream, on a cluster; " +
			"power-safe and fast keep one, which nats-server's sync_interval protects.",
	}
}

func main() {
	os.Exit(process.Main("provision", "Makes Headwater's streams and keeps its configuration in force.", run))
}

func run(ctx context.Context, p *process.Process, cfg config) error {
	nc, js, err := p.Connect(cfg.NATSConfig)
	if err != nil {
		return err
	}
	defer nc.Close()
	if _, err := streams.Ensure(ctx, js, streams.Options{Lanes: cfg.Lanes, Durability: cfg.Durability, MaxBytes: cfg.MaxBytes}); err != nil || cfg.Once {
		return err
	}
	files, err := configfile.New(cfg.File, configfile.Deps{JS: js, Log: p.Log, Metrics: p.Metrics})
	if err != nil {
		return err
	}
	admin, err := p.Admin(cfg.AdminConfig)
	if err != nil {
		return err
	}
	janitor := streams.Janitor{JS: js, Log: p.Log}
	return p.Run(ctx, admin, p.Seek(js),
		process.Part{Name: "configfile", Run: files.Run, Ready: files.Ready},
		process.Part{Name: "janitor", Run: janitor.Run})
}
