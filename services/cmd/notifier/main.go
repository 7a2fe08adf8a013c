// Command notifier turns anomalies into alerts and notifies people.
package main

import (
	"context"
	"os"

	"headwater/services/internal/influx"
	"headwater/services/internal/process"
	"headwater/services/notifier"
)

type config struct {
	process.AdminConfig `embed:""`
	process.NATSConfig  `embed:""`
	Influx              influx.Config   `embed:"" prefix:"influx-"`
	Notifier            notifier.Config `embed:""`
}

func main() {
	os.Exit(process.Main("notifier", "Turns anomalies into alerts and tells people of them.", run))
}

func run(ctx context.Context, p *process.Process, cfg config) error {
	nc, js, err := p.Connect(cfg.NATSConfig)
	if err != nil {
		return err
	}
	defer nc.Close()
	admin, err := p.Admin(cfg.AdminConfig)
	if err != nil {
		return err
	}
	past, err := influx.New(cfg.Influx)
	if err != nil {
		return err
	}
	defer past.Close()
	service, err := notifier.New(cfg.Notifier, notifier.Deps{JS: js, Past: past, Log: p.Log, Metrics: p.Metrics})
	if err != nil {
		return err
	}
	return p.Run(ctx, admin, p.Seek(js), process.Part{Name: "notifier", Run: service.Run, Ready: service.Ready})
}
