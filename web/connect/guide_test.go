package connect

import (
	"strings"
	"testing"
)

func TestServer(t *testing.T) {
	for _, test := range []struct {
		listener, http string
		want           Server
	}{
		{"", "http://pi.lan:8080", Server{Host: "pi.lan", Port: "1883"}},
		{"0.0.0.0:1883", "http://192.168.1.20:8080", Server{Host: "192.168.1.20", Port: "1883"}},
		{"[::]:1884", "http://[fd00::1]:8080", Server{Host: "fd00::1", Port: "1884"}},
		{"mqtts://[::]:8883", "https://headwater.lan", Server{Host: "headwater.lan", Port: "8883", Encrypted: true}},
		{"127.0.0.1:1883", "http://192.168.1.20:8080", Server{Host: "127.0.0.1", Port: "1883", LoopbackOnly: true}},
		{"broker.lan:1883", "http://192.168.1.20:8080", Server{Host: "broker.lan", Port: "1883"}},
	} {
		test.want.HTTP = test.http
		if got := NewServer(test.listener, test.http, false); got != test.want {
			t.Errorf("%s, %s: %+v", test.listener, test.http, got)
		}
	}
}

// TestWaysNameTheServer holds each example against the server and the place it is for.
func TestWaysNameTheServer(t *testing.T) {
	plain := Server{Host: "pi.lan", Port: "1884", HTTP: "http://pi.lan:8080"}
	secure := Server{Host: "pi.lan", Port: "8883", HTTP: "https://pi.lan", Encrypted: true, Authority: true}
	for _, w := range ways {
		for _, s := range []Server{plain, secure} {
			all := ""
			for _, step := range w.steps(s, Place{"hall", "door-1"}) {
				all += step.title + step.text + step.code
			}
			for _, want := range []string{"pi.lan", map[bool]string{true: s.HTTP, false: s.Port}[Facts{Way: w.id}.overHTTP()]} {
				if !strings.Contains(all, want) {
					t.Errorf("%s does not say %q:\n%s", w.id, want, all)
				}
			}
			if !strings.Contains(all, "hall") && !strings.Contains(all, "Its site is home") {
				t.Errorf("%s does not say which site it is:\n%s", w.id, all)
			}
			if s.Encrypted && !strings.Contains(all, "headwater") && !strings.Contains(all, "certificate") && w.id != "node-red" {
				t.Errorf("%s does not say what to trust:\n%s", w.id, all)
			}
		}
	}
}

func TestNearest(t *testing.T) {
	for topic, want := range map[string]string{
		"home/living room/temperature": "sensors/home/living_room/temperature", "sensors/a/b/c/d": "sensors/b/c/d", "t": "sensors/home/kitchen/t",
		"": "sensors/home/kitchen/temperature", "sensors": "sensors/home/kitchen/temperature", "hall/door": "sensors/hall/door", "/ü//": "sensors/home/kitchen/_",
	} {
		if got := Nearest(topic, Place{"home", "kitchen"}); got != want {
			t.Errorf("%q: %s, want %s", topic, got, want)
		}
	}
}

func TestShown(t *testing.T) {
	for _, test := range []struct {
		payload []byte
		size    int
		want    string
	}{
		{[]byte("21,5"), 4, "21,5"},
		{nil, 0, "no bytes"},
		{[]byte{0xff, 0x01}, 2, "ff01"},
		{[]byte("a\x00b"), 3, "610062"},
		{[]byte(strings.Repeat("ü", 61)), 122, strings.Repeat("ü", 60) + "… (122 bytes)"},
	} {
		if got := shown(Undecoded{Payload: test.payload, Size: test.size}); got != test.want {
			t.Errorf("%q: %s, want %s", test.payload, got, test.want)
		}
	}
}
