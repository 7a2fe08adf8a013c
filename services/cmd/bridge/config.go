package main

import (
	"context"
	"fmt"
	"net"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/bridge"
	"headwater/services/bridge/front"
	"headwater/services/bridge/login"
	"headwater/services/internal/process"
	"headwater/streams"
)

type config struct {
	process.AdminConfig   `embed:""`
	process.NATSConfig    `embed:""`
	process.DevicesConfig `embed:""`
	Bridge                bridge.Config `embed:""`

	Devices0User     string `name:"devices0-user" default:"headwater-devices0"`
	Devices0Password string `name:"devices0-password-file" help:"File of its password." type:"existingfile"`
	AuthUser         string `help:"User of the account of the auth callout." default:"headwater-auth"`
	AuthPassword     string `name:"auth-password-file" help:"File that holds its password." type:"existingfile"`
	IssuerSeed       string `name:"issuer-seed-file" help:"File that holds the seed of the auth callout's issuer." type:"existingfile" required:""`

	MQTTListen string `name:"mqtt-listen"`
	MQTTServer string `name:"mqtt-server" help:"MQTT listener of nats-server for the front, host:port." default:"127.0.0.1:1883"`

	SystemUser     string `help:"User of the system account that is notified of closed connections." default:"headwater-system"`
	SystemPassword string `name:"system-password-file" type:"existingfile"`

	Durability streams.Durability `help:"The same as for provision." enum:"power-safe,fast,replicated" default:"power-safe"`
	MaxBytes   int64              `name:"devices-max-bytes" help:"Bytes of the disk for the devices' stream; 0 means its share of 8 GiB." default:"0"`
}

// FlagHelp returns the help that is too long for a tag, by field.
func (config) FlagHelp() map[string]string {
	return map[string]string{
		"Devices0User": "User of the devices' account that receives messages with QoS 0; subjects that begin with $ or _INBOX must " +
			"be denied to it.",
		"MQTTListen": "Address of a front for devices, host:port, which takes MQTT 3.1, 3.1.1 and 5 and any client id and topic; " +
			"empty for none. When this bridge ends, its devices have to connect to another one.",
		"SystemPassword": "File that holds its password; without it closed connections are not counted.",
	}
}

// dangers are what would let strangers in.
func (cfg config) dangers() ([]process.Danger, error) {
	dangers, err := cfg.Bridge.Dangers()
	if err != nil {
		return nil, err
	}
	if cfg.Bridge.Anonymous == login.AnonymousAny {
		dangers = append(dangers, process.Danger{
			What: "devices may connect from anywhere without a password (--mqtt-anonymous any)",
			Do:   "leave that flag out, or let it be none, and give the devices credentials, or a user with --mqtt-user and --mqtt-password-file",
		})
	}
	return dangers, nil
}

// front returns the part that devices connect to. It stops before the bridge, which still
// acknowledges what they have sent.
func (cfg config) front(service *bridge.Service) (process.Part, error) {
	devices, err := service.NewFront(cfg.MQTTServer, front.TLS{})
	if err != nil {
		return process.Part{}, err
	}
	listener, err := net.Listen("tcp", cfg.MQTTListen)
	if err != nil {
		return process.Part{}, fmt.Errorf("listen for MQTT: %w", err)
	}
	return process.Part{Name: "front", Run: func(ctx context.Context) error { return devices.Run(ctx, listener) }}, nil
}

// connect fills deps. It returns the connections to close even with an error.
func (cfg config) connect(p *process.Process, deps *bridge.Deps) ([]*nats.Conn, error) {
	var connections []*nats.Conn
	for _, account := range []struct {
		user, password string
		use            func(*nats.Conn, jetstream.JetStream)
	}{
		{cfg.NATSUser, cfg.NATSPassword, func(_ *nats.Conn, js jetstream.JetStream) { deps.JS = js }},
		{cfg.DevicesUser, cfg.DevicesPassword, func(_ *nats.Conn, js jetstream.JetStream) { deps.Devices = js }},
		{cfg.DevicesUser, cfg.DevicesPassword, func(nc *nats.Conn, _ jetstream.JetStream) { deps.Front = nc }},
		{cfg.Devices0User, cfg.Devices0Password, func(nc *nats.Conn, _ jetstream.JetStream) { deps.Devices0 = nc }},
		{cfg.AuthUser, cfg.AuthPassword, func(nc *nats.Conn, _ jetstream.JetStream) { deps.Auth = nc }},
		{cfg.SystemUser, cfg.SystemPassword, func(nc *nats.Conn, _ jetstream.JetStream) { deps.System = nc }},
	} {
		if account.user == cfg.SystemUser && account.password == "" {
			continue
		}
		nc, js, err := p.Connect(process.NATSConfig{NATS: cfg.NATS, NATSUser: account.user, NATSPassword: account.password, NATSCA: cfg.NATSCA})
		if err != nil {
			return connections, fmt.Errorf("user %s: %w", account.user, err)
		}
		connections = append(connections, nc)
		account.use(nc, js)
	}
	return connections, nil
}
