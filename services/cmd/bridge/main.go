// Command bridge carries what devices publish over MQTT into TELEMETRY, and answers
// their log-ins. It connects to three accounts of nats-server: those of the services, of
// the devices and of the auth callout.
package main

import (
	"context"
	"os"

	"headwater/services/bridge"
	"headwater/services/internal/process"
	"headwater/streams"
)

func main() {
	os.Exit(process.Main("bridge", "Carries what devices publish over MQTT into Headwater.", run))
}

func run(ctx context.Context, p *process.Process, cfg config) error {
	seed, err := process.ReadSecret(cfg.IssuerSeed)
	if err != nil {
		return err
	}
	deps := bridge.Deps{Log: p.Log, Metrics: p.Metrics, IssuerSeed: []byte(seed)}
	connections, err := cfg.connect(p, &deps)
	for _, nc := range connections {
		defer nc.Close()
	}
	if err != nil {
		return err
	}
	if dangers, err := cfg.dangers(); err != nil {
		return err
	} else if err := cfg.Refuse(p.Log, dangers...); err != nil {
		return err
	}
	service, err := bridge.New(cfg.Bridge, deps)
	if err != nil {
		return err
	}
	if err := streams.EnsureDevices(ctx, deps.Devices, streams.DeviceOptions{Durability: cfg.Durability, MaxBytes: cfg.MaxBytes}); err != nil {
		return err
	}
	admin, err := p.Admin(cfg.AdminConfig)
	if err != nil {
		return err
	}
	parts := []process.Part{admin, p.Seek(deps.JS, deps.Devices), {Name: "bridge", Run: service.Run, Ready: service.Ready}}
	if cfg.MQTTListen != "" {
		front, err := cfg.front(service)
		if err != nil {
			return err
		}
		parts = append(parts, front)
	}
	return p.Run(ctx, parts...)
}
