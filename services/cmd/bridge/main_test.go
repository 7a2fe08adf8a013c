package main

import (
	"context"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"headwater/services/bridge/login"
	"headwater/services/internal/process"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

const within = streamtest.Patience

// secret writes a file with a secret in it and returns its path.
func secret(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRunCarriesAReading runs the command over TCP, as on a cluster, where it
// makes the stream of the devices itself.
func TestRunCarriesAReading(t *testing.T) {
	s := streamtest.Run(t)
	js := s.JS(t)
	if _, err := streams.Ensure(t.Context(), js, streams.Options{Lanes: 1, MaxBytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	password := func(user natsd.User) string {
		u, err := url.Parse(s.NATS(user))
		if err != nil {
			t.Fatal(err)
		}
		text, _ := u.User.Password()
		return secret(t, text)
	}
	seed, err := s.IssuerSeed()
	if err != nil {
		t.Fatal(err)
	}
	cfg := process.Defaults[config]()
	address, err := url.Parse(s.NATS(natsd.UserCore))
	if err != nil {
		t.Fatal(err)
	}
	cfg.NATS, cfg.Admin = "nats://"+address.Host, "127.0.0.1:0"
	cfg.NATSPassword, cfg.AuthPassword = password(natsd.UserCore), password(natsd.UserAuth)
	cfg.DevicesPassword, cfg.Devices0Password = password(natsd.UserDevices), password(natsd.UserDevices0)
	cfg.IssuerSeed, cfg.MaxBytes = secret(t, string(seed)), 64<<20

	p := process.New("bridge", process.Base{LogFormat: "text", Grace: within}, io.Discard)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx, p, cfg) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	var device mqtt.Client
	streamtest.Eventually(t, "a device connects", func() bool {
		device = mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + s.MQTT()).SetClientID("d").SetAutoReconnect(false))
		token := device.Connect()
		return token.WaitTimeout(within) && token.Error() == nil
	})
	defer device.Disconnect(0)
	if token := device.Publish("sensors/hall/d/temperature", 1, false, "21.5"); !token.WaitTimeout(within) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	telemetry, err := js.Stream(t.Context(), streams.StreamTelemetry)
	if err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, "the reading is stored", func() bool {
		info, err := telemetry.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for seq := info.State.FirstSeq; seq > 0 && seq <= info.State.LastSeq; seq++ {
			m, err := telemetry.GetMsg(t.Context(), seq)
			if err != nil {
				t.Fatal(err)
			}
			b, err := streams.DecodeTelemetry(m.Data)
			if err != nil {
				t.Fatal(err)
			}
			for r := range b.Readings() {
				if r.Value == 21.5 {
					return true
				}
			}
		}
		return false
	})
}

// TestProductionRefusesStrangers has a configuration that lets anybody in: dev warns, production
// does not start.
func TestProductionRefusesStrangers(t *testing.T) {
	safe := process.Defaults[config]()
	anybody := safe
	anybody.Bridge.Anonymous = login.AnonymousAny
	sample := safe
	sample.Bridge.User, sample.Bridge.PasswordFile = "device", secret(t, "password1")
	for _, test := range []struct {
		name string
		cfg  config
		safe bool
	}{{"the defaults", safe, true}, {"anybody", anybody, false}, {"a password that everybody tries", sample, false}} {
		dangers, err := test.cfg.dangers()
		if err != nil {
			t.Fatal(err)
		}
		for mode, want := range map[process.Mode]bool{process.ModeDev: true, process.ModeProduction: test.safe} {
			test.cfg.Mode = mode
			if err := test.cfg.Refuse(slog.New(slog.DiscardHandler), dangers...); (err == nil) != want {
				t.Errorf("%s, mode %s: %v", test.name, mode, err)
			}
		}
	}
}
