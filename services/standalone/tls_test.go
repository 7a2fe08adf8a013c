package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"headwater/services/internal/certs"
	"headwater/streams/streamtest"
)

// tool runs a program and returns what it printed. It skips the test if the machine does
// not have it.
func tool(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed (Debian: apt-get install mosquitto-clients curl)", name)
	}
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	return string(out), err
}

// authorityFile downloads the certificate of the authority as somebody does who does not
// trust it yet.
func authorityFile(t *testing.T, host string) (path string, pool *x509.CertPool) {
	t.Helper()
	res, err := http.Get("http://" + host + "/trust/ca.crt")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/x-x509-ca-cert" {
		t.Fatalf("the certificate of the authority: %s %v", res.Status, err)
	}
	pool = x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatalf("no certificate: %s", text)
	}
	path = filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, pool
}

// pub publishes one reading of a device with mosquitto_pub.
func pub(t *testing.T, address, device string, args ...string) error {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	out, err := tool(t, "mosquitto_pub", append([]string{"-h", host, "-p", port, "-q", "1", "-t", "sensors/hall/" + device + "/temperature", "-m", "21.5"}, args...)...)
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// TestTLSAuto uses a standalone that is its own authority as people and devices do.
func TestTLSAuto(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.TLS.Mode = certs.Auto
	at, _ := start(t, cfg)
	host, isSecure := strings.CutPrefix(at.HTTP, "https://")
	if !isSecure {
		t.Fatalf("the dashboard is at %s", at.HTTP)
	}
	ca, pool := authorityFile(t, host)
	_, port, err := net.SplitHostPort(host)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{host, "localhost:" + port} {
		if out, err := tool(t, "curl", "-sS", "--fail", "--cacert", ca, "https://"+name+"/api/v1/devices"); err != nil {
			t.Errorf("curl to %s: %v %s", name, err, out)
		}
	}
	if out, err := tool(t, "curl", "-sS", "https://"+host+"/"); err == nil {
		t.Errorf("curl trusts an authority that it does not know: %s", out)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for path, status := range map[string]int{"/": 307, "/alerts": 307, "/metrics": 307, "/api/v1/devices": 307, "/trust": 200, "/readyz": 200} {
		res, err := client.Get("http://" + host + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != status {
			t.Errorf("%s without TLS: %s", path, res.Status)
		}
	}
	if err := pub(t, at.MQTT, "door-01", "--cafile", ca); err != nil {
		t.Errorf("mosquitto_pub: %v", err)
	}
	if err := pub(t, at.MQTT, "door-02"); err == nil {
		t.Error("a device without TLS is acknowledged")
	}
	if conn, err := tls.Dial("tcp", at.MQTT, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		_ = conn.Close()
		t.Error("MQTT takes TLS 1.1")
	}
	secure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer secure.CloseIdleConnections()
	streamtest.Eventually(t, "the reading is shown", func() bool {
		res, err := secure.Get(at.HTTP + "/api/v1/devices")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var body struct {
			Devices []struct{ Device string } `json:"devices"`
		}
		if err := json.NewDecoder(res.Body).Decode(&body); err != nil {
			t.Fatal(err)
		}
		return len(body.Devices) == 1 && body.Devices[0].Device == "door-01"
	})
}

// TestCertificatesOfDevices requires a certificate of every device.
func TestCertificatesOfDevices(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.TLS.Mode, cfg.TLS.ClientNeeded = certs.Auto, true
	at, _ := start(t, cfg)
	ca, _ := authorityFile(t, strings.TrimPrefix(at.HTTP, "https://"))
	if err := pub(t, at.MQTT, "door-01", "--cafile", ca); err == nil {
		t.Error("a device without a certificate is acknowledged")
	}
	authority, err := certs.OpenDeviceAuthority(cfg.Data)
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := authority.ForDevice("hall", "door-01", time.Now(), 1)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string][]byte{"crt": cert, "key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := pub(t, at.MQTT, "door-01", "--cafile", ca, "--cert", filepath.Join(dir, "crt"), "--key", filepath.Join(dir, "key")); err != nil {
		t.Errorf("with its certificate: %v", err)
	}
}

// TestNewCertificateUnderLoad replaces the files while a device reports. Its connection
// stays, each of its readings is acknowledged, and new connections meet the new
// certificate.
func TestNewCertificateUnderLoad(t *testing.T) {
	authority, err := certs.EnsureAuthority(t.TempDir(), certs.Names{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(authority.Certificate())
	cfg := testConfig(t.TempDir())
	dir := t.TempDir()
	cfg.TLS.Cert, cfg.TLS.Key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	renew := func() []byte {
		source, err := authority.Source(func() (certs.Names, error) { return certs.OfThisMachine() }, certs.Devices{}, newProcess(t).Log, nil)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := source.HTTP().GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		for path, block := range map[string]*pem.Block{cfg.TLS.Key: {Type: "PRIVATE KEY", Bytes: key}, cfg.TLS.Cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}} {
			if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return pair.Certificate[0]
	}
	renew()
	at, _ := start(t, cfg)
	lost := make(chan error, 1)
	trusting := &tls.Config{RootCAs: pool}
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("ssl://" + at.MQTT).SetClientID("door-01").SetTLSConfig(trusting).
		SetAutoReconnect(false).SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err }))
	if token := client.Connect(); !token.WaitTimeout(20*time.Second) || token.Error() != nil {
		t.Fatalf("connect: %v", token.Error())
	}
	defer client.Disconnect(0)
	sent := 0
	report := func() {
		publish(t, client, "sensors/hall/door-01/temperature", fmt.Sprintf(`{"value":21.5,"ts":%d}`, time.Now().Add(-time.Minute).UnixMilli()+int64(sent)))
		sent++
	}
	report()
	fresh := renew()
	streamtest.Eventually(t, "new connections meet the new certificate", func() bool {
		report()
		for _, address := range []string{at.MQTT, strings.TrimPrefix(at.HTTP, "https://")} {
			conn, err := tls.Dial("tcp", address, trusting)
			if err != nil {
				t.Fatalf("a new connection: %v", err)
			}
			met := conn.ConnectionState().PeerCertificates[0].Raw
			_ = conn.Close()
			if !bytes.Equal(met, fresh) {
				return false
			}
		}
		return true
	})
	report()
	select {
	case err := <-lost:
		t.Errorf("the connection was lost: %v", err)
	default:
	}
	streamtest.Eventually(t, "all readings are in InfluxDB", func() bool {
		series, err := query(t, at.Influx, "raw", `SELECT count("value") FROM "temperature"`)
		return err == nil && len(series) == 1 && int(series[0].Floats("count")[0]) == sent
	})
}

// TestNoCertificateYet starts before a public authority has issued a certificate. The pages are
// there and say why there is none, and what the authority asks over HTTP is answered.
func TestNoCertificateYet(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.TLS.Mode, cfg.TLS.Name, cfg.TLS.Directory = certs.ACME, "headwater.example.org", "https://127.0.0.1:1/dir"
	at, _ := start(t, cfg)
	host := strings.TrimPrefix(at.HTTP, "https://")
	client := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	streamtest.Eventually(t, "the page says why", func() bool {
		res, err := client.Get("https://" + host + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		page, err := io.ReadAll(res.Body)
		return err == nil && strings.Contains(string(page), "There is no certificate for headwater.example.org yet") && strings.Contains(string(page), "connection refused")
	})
	for path, status := range map[string]int{"/.well-known/acme-challenge/x": 404, "/": 307} {
		res, err := client.Get("http://" + host + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != status {
			t.Errorf("%s without TLS: %s", path, res.Status)
		}
	}
}
