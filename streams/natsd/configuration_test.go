package natsd_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"headwater/streams"
	"headwater/streams/natsd"
)

// TestServerFile runs a nats-server with the file that deploy/nats holds: every
// user can log in with the password of the environment, nobody else can.
func TestServerFile(t *testing.T) {
	issuer, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	public, err := issuer.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, value := range map[string]string{
		natsd.EnvListen: "127.0.0.1:-1", natsd.EnvMonitor: "127.0.0.1:-1", natsd.EnvMQTT: "127.0.0.1:-1",
		natsd.EnvStoreDir: dir, natsd.EnvMaxStore: "1000000000", natsd.EnvSync: "always", natsd.EnvIssuer: public,
	} {
		t.Setenv(name, value)
	}
	for _, u := range natsd.Users() {
		t.Setenv(natsd.EnvPassword(u), "secret-of-"+string(u))
	}
	options, err := server.ProcessConfigFile(filepath.Join("..", "..", "deploy", "nats", "nats-server.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if !options.SyncAlways || options.StoreDir != dir || options.JetStreamMaxStore != 1_000_000_000 {
		t.Errorf("sync always %t, store %q of %d bytes", options.SyncAlways, options.StoreDir, options.JetStreamMaxStore)
	}
	options.NoSigs, options.NoLog = true, true
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("not ready")
	}
	for _, u := range natsd.Users() {
		nc, err := nats.Connect(s.ClientURL(), nats.UserInfo(string(u), "secret-of-"+string(u)))
		if err != nil {
			t.Errorf("user %s: %v", u, err)
			continue
		}
		nc.Close()
	}
	if nc, err := nats.Connect(s.ClientURL(), nats.UserInfo("core", "wrong")); err == nil {
		nc.Close()
		t.Error("a wrong password was taken")
	}
}

// TestServicesMayDoNoMoreThanTheyDo tries, as one service, what belongs to others.
func TestServicesMayDoNoMoreThanTheyDo(t *testing.T) {
	s, err := natsd.Start(t.Context(), natsd.Config{Dir: t.TempDir(), Sync: natsd.SyncSecond, MQTT: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown()
	tried := map[string]struct{ publish, subscribe []string }{
		streams.ServiceProvision: {
			publish:   []string{"telemetry.0.http", "derived.0", "deadletters.provision.x", "$KV.leases.bridge.0", "$KV.silences.silences", "audit.dashboard"},
			subscribe: []string{">", "telemetry.>"},
		},
		streams.ServiceBridge: {
			publish:   []string{"telemetry.0.http", "derived.0", "alerting.0", "$KV.config.config", "$JS.API.STREAM.PURGE.DEADLETTERS", "audit.dashboard"},
			subscribe: []string{"telemetry.>", "redrive.gateway"},
		},
		streams.ServiceNotifier: {
			publish:   []string{"telemetry.0.mqtt", "derived.0", "$KV.leases.processor.0", "$KV.config.config", "$KV.silences.silences", "audit.notifier"},
			subscribe: []string{"alerting.>", "_INBOX.dashboard.>"},
		},
		streams.ServiceGateway: {
			publish:   []string{"audit.dashboard", "telemetry.0.mqtt", "derived.0", "$KV.config.config", "$JS.API.STREAM.DELETE.TELEMETRY", "$KV.leases.writer.0"},
			subscribe: []string{">", "_INBOX.>", "_INBOX.writer.>", "telemetry.>"},
		},
		streams.ServiceProcessor: {
			publish:   []string{"telemetry.0.mqtt", "alerting.0", "$KV.leases.notifier.0", "$KV.config.config", "$JS.API.STREAM.PURGE.DERIVED"},
			subscribe: []string{"derived.>", "redrive.bridge"},
		},
		streams.ServiceWriter: {
			publish:   []string{"telemetry.0.http", "derived.0", "deadletters.bridge.topic", "$JS.API.STREAM.UPDATE.TELEMETRY"},
			subscribe: []string{"alerting.>"},
		},
		streams.ServiceFunctions: {
			publish:   []string{"telemetry.0.http", "derived.0", "$KV.functions.declared.x", "$KV.config.config", "deadletters.bridge.topic", "$JS.API.STREAM.DELETE.TELEMETRY", "$O.functions.M.x"},
			subscribe: []string{"telemetry.>", "work.x"},
		},
		streams.ServiceWorker: {
			publish:   []string{"telemetry.0.http", "work.x", "$KV.functions.record.x", "$JS.API.STREAM.INFO.TELEMETRY", "_INBOX.functions.x"},
			subscribe: []string{"telemetry.>", "derived.0", "_INBOX.functions.>"},
		},
		streams.ServiceDashboard: {
			publish:   []string{"telemetry.0.http", "$KV.config.other", "deadletters.bridge.topic", "$JS.API.STREAM.DELETE.DEADLETTERS", "$JS.API.STREAM.PURGE.AUDIT", "$JS.API.STREAM.MSG.DELETE.AUDIT", "audit.bridge"},
			subscribe: []string{"telemetry.>"},
		},
	}
	for _, service := range streams.Services() {
		forbidden, ok := tried[service]
		if !ok {
			t.Errorf("%s is not tried", service)
		}
		t.Run(service, func(t *testing.T) {
			denied := make(chan error, 16)
			nc, err := s.Connect(natsd.UserOf(service), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			expect := func(what string) {
				t.Helper()
				select {
				case err := <-denied:
					if !errors.Is(err, nats.ErrPermissionViolation) {
						t.Errorf("%s: %v", what, err)
					}
				case <-time.After(10 * time.Second):
					t.Errorf("%s was allowed", what)
				}
			}
			for _, subject := range forbidden.publish {
				if err := nc.Publish(subject, nil); err != nil {
					t.Fatal(err)
				}
				expect("publish on " + subject)
			}
			for _, subject := range forbidden.subscribe {
				if _, err := nc.SubscribeSync(subject); err != nil {
					t.Fatal(err)
				}
				expect("subscribe to " + subject)
			}
		})
	}
}

// TestSmallDisk creates all streams and buckets within the least that a disk is given:
// nats-server reserves what each may take.
func TestSmallDisk(t *testing.T) {
	const least = 64 << 20
	s, err := natsd.Start(t.Context(), natsd.Config{Dir: t.TempDir(), Sync: natsd.SyncSecond, MaxBytes: least, MQTT: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown()
	for user, ensure := range map[natsd.User]func(jetstream.JetStream) error{
		natsd.UserOf(streams.ServiceProvision): func(js jetstream.JetStream) error {
			_, err := streams.Ensure(t.Context(), js, streams.Options{MaxBytes: least})
			return err
		},
		natsd.UserDevices: func(js jetstream.JetStream) error {
			return streams.EnsureDevices(t.Context(), js, streams.DeviceOptions{MaxBytes: streams.DeviceBytes(least)})
		},
	} {
		nc, err := s.Connect(user)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err == nil {
			err = ensure(js)
		}
		if err != nil {
			t.Errorf("%s: %v", user, err)
		}
	}
}

// TestServicesRecreateLeases has each service that holds leases do what it must
// after a nats-server that stood alone has lost them.
func TestServicesRecreateLeases(t *testing.T) {
	s, err := natsd.Start(t.Context(), natsd.Config{Dir: t.TempDir(), Sync: natsd.SyncSecond, MQTT: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown()
	connect := func(service string) jetstream.JetStream {
		nc, err := s.Connect(natsd.UserOf(service))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		return js
	}
	ctx := t.Context()
	provision := connect(streams.ServiceProvision)
	if _, err := streams.Ensure(ctx, provision, streams.Options{Lanes: 2, MaxBytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	for _, service := range []string{streams.ServiceBridge, streams.ServiceProcessor, streams.ServiceNotifier, streams.ServiceWriter} {
		for _, bucket := range []string{streams.BucketLeases, streams.BucketWorkers} {
			if err := provision.DeleteKeyValue(ctx, bucket); err != nil {
				t.Fatal(err)
			}
		}
		js := connect(service)
		if err := streams.EnsureLeases(ctx, js); err != nil {
			t.Errorf("%s: %v", service, err)
			continue
		}
		for bucket, key := range map[string]string{
			streams.BucketLeases: streams.LeaseKey(service, 0), streams.BucketWorkers: streams.WorkerKey(service, "w"),
		} {
			kv, err := js.KeyValue(ctx, bucket)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := kv.Create(ctx, key, nil); err != nil {
				t.Errorf("%s takes %s: %v", service, key, err)
			}
			if err := kv.Delete(ctx, key); err != nil {
				t.Errorf("%s gives %s back: %v", service, key, err)
			}
		}
	}
}
