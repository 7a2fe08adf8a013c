// Command standin takes the place of the image influxdb:2.7 where no image can be
// pulled. It reads the same environment variables, and "ping" does what it does in
// that image's command line client.
//
// It is InfluxDB 1.8 behind a gate that answers as version 2 does to a client that
// writes by /api/v2/write and reads by InfluxQL over /query. It enforces the token,
// refuses writes to buckets that nobody has created, and reports errors in the form
// of version 2. It does not show the storage engine, Flux or tasks of version 2, nor
// tokens with fewer rights.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"headwater/services/internal/process"
)

// address is where the official image answers.
const address = ":8086"

type config struct {
	Ping string `arg:"" optional:"" enum:",ping" default:"" help:"\"ping\" checks that the running one answers."`

	Dir       string `help:"Folder of the data." default:"/var/lib/influxdb2" env:"INFLUXD_DATA"`
	Org       string `help:"Organisation." env:"DOCKER_INFLUXDB_INIT_ORG"`
	Bucket    string `help:"Bucket to create." env:"DOCKER_INFLUXDB_INIT_BUCKET"`
	TokenFile string `help:"File that holds the token." env:"DOCKER_INFLUXDB_INIT_ADMIN_TOKEN_FILE"`
}

func main() {
	os.Exit(process.Main("standin", "Stands in for InfluxDB 2: version 1.8 behind a gate.", run))
}

func run(ctx context.Context, p *process.Process, cfg config) error {
	if cfg.Ping != "" {
		return ping(ctx)
	}
	token, err := process.ReadSecret(cfg.TokenFile)
	if err != nil {
		return err
	}
	s, err := openGate(ctx, gateConfig{dir: cfg.Dir, org: cfg.Org, token: token, bucket: cfg.Bucket, log: p.Log})
	if err != nil {
		return err
	}
	defer func() {
		if err := s.close(); err != nil {
			p.Log.Error("close InfluxDB", "err", err)
		}
	}()
	l, err := p.Listen(address)
	if err != nil {
		return err
	}
	p.Log.Info("answers as InfluxDB 2", "address", l.Addr().String(), "version", version)
	return p.Run(ctx, process.Part{Name: "http", Run: func(ctx context.Context) error {
		return process.Serve(ctx, l, s.handler(), p.Log, 5*time.Second)
	}})
}

func ping(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1"+address+"/health", nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Timeout: 3 * time.Second}).Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", response.Status)
	}
	return nil
}
