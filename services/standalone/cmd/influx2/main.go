// Command influx2 stands in for the image influxdb:2.7 where no image can be
// pulled. It takes the environment of that image, and "ping" as its command line
// client does.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"headwater/services/internal/process"
	"headwater/services/standalone/internal/influx2"
)

// address is where the official image answers.
const address = ":8086"

type config struct {
	Ping string `arg:"" optional:"" enum:",ping" default:"" help:"\"ping\" asks the running one whether it answers."`

	Dir       string `help:"Folder of the data." default:"/var/lib/influxdb2" env:"INFLUXD_DATA"`
	Org       string `help:"Organisation." env:"DOCKER_INFLUXDB_INIT_ORG"`
	Bucket    string `help:"Bucket to make." env:"DOCKER_INFLUXDB_INIT_BUCKET"`
	TokenFile string `help:"File that holds the token." env:"DOCKER_INFLUXDB_INIT_ADMIN_TOKEN_FILE"`
}

func main() {
	os.Exit(process.Main("influx2", "Stands in for InfluxDB 2: version 1.8 behind a gate.", run))
}

func run(ctx context.Context, p *process.Process, cfg config) error {
	if cfg.Ping != "" {
		return ping(ctx)
	}
	token, err := process.ReadSecret(cfg.TokenFile)
	if err != nil {
		return err
	}
	s, err := influx2.Open(ctx, influx2.Config{Dir: cfg.Dir, Org: cfg.Org, Token: token, Bucket: cfg.Bucket, Log: p.Log})
	if err != nil {
		return err
	}
	defer func() {
		if err := s.Close(); err != nil {
			p.Log.Error("did not close in order", "err", err)
		}
	}()
	l, err := process.Listen(address)
	if err != nil {
		return err
	}
	p.Log.Info("answers as InfluxDB 2", "address", l.Addr().String(), "version", influx2.Version)
	return p.Run(ctx, process.Part{Name: "http", Run: func(ctx context.Context) error {
		return process.Serve(ctx, l, s.Handler(), p.Log, 5*time.Second)
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
