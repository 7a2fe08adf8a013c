package bridge_test

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"google.golang.org/protobuf/encoding/protowire"

	"headwater/services/bridge"
	"headwater/services/internal/configstore"
	"headwater/services/internal/credentials"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

// mosquittoPub publishes a message with mosquitto_pub, which ends when it is acknowledged.
func (w *world) mosquittoPub(t *testing.T, topic, payload string) {
	t.Helper()
	program, err := exec.LookPath("mosquitto_pub")
	if err != nil {
		t.Skip("mosquitto_pub is not installed (Debian: apt-get install mosquitto-clients)")
	}
	host, port, _ := strings.Cut(w.MQTT(), ":")
	out, err := exec.CommandContext(t.Context(), program, "-h", host, "-p", port, "-q", "1", "-t", topic, "-m", payload).CombinedOutput()
	if err != nil {
		t.Fatalf("mosquitto_pub: %v: %s", err, out)
	}
}

// TestFormatsOfTheField publishes what devices publish as they come from the box, and
// redrives what was not readable.
func TestFormatsOfTheField(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	streamtest.Eventually(t, "devices log in", func() bool { return r.Ready() == nil })
	w.device(t, "first").Disconnect(0) // log-ins are answered
	for _, m := range []struct{ topic, payload string }{
		{"tele/heater/SENSOR", `{"Time":"` + time.Now().UTC().Format("2006-01-02T15:04:05") + `","ENERGY":{"Power":132}}`},
		{"tele/heater/LWT", "Online"},
		{"zigbee2mqtt/plug", `{"power":23,"state":"ON","update":{"state":"idle"},"countdown":null}`},
		{"zigbee2mqtt/bridge/logging", `{"level":"info","message":"x"}`},
		{"shellyplus1pm-1/events/rpc", `{"src":"shellyplus1pm-1","method":"NotifyStatus","params":{"switch:0":{"id":0,"apower":8.9}}}`},
		{"sensors/hall/weather", `{"temperature":21.5,"wind":{"speed":3},"humidity":"nan"}`},
	} {
		w.mosquittoPub(t, m.topic, m.payload)
	}
	want := []string{
		"mqtt home/heater/ENERGY_Power 132W", "mqtt home/heater/online true", "mqtt home/plug/power 23W", "mqtt home/plug/state true",
		"mqtt home/plug/update_state \"idle\"", "mqtt home/shellyplus1pm-1/switch_0_apower 8.9W",
		"mqtt hall/weather/temperature 21.5", "mqtt hall/weather/wind_speed 3",
	}
	if got := w.readings(t); !equalSets(got, want) {
		t.Errorf("readings are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	dead := w.deadLetters(t)
	if len(dead) != 1 || dead[0].Reason != streams.ReasonValue || !strings.Contains(dead[0].Detail, "humidity") || dead[0].Device != "weather" {
		t.Fatalf("dead letters are %+v", dead)
	}
	if n := r.value(t, "headwater_bridge_ignored_messages_total", "Zigbee2MQTT"); n != 1 {
		t.Errorf("%v messages are ignored, want 1", n)
	}

	t.Run("redrive stores the rest only", func(t *testing.T) {
		// The same letter, whose bytes are readable now.
		letter := dead[0]
		letter.Payload = []byte(strings.Replace(string(letter.Payload), `"nan"`, "40", 1))
		answer := w.redrive(t, w.bury(t, letter))
		if got := outcomes(answer); !slices.Equal(got, []streams.Outcome{streams.OutcomeRedriven}) || answer.Results[0].Readings != 1 {
			t.Fatalf("the answer is %+v", answer)
		}
		if got := w.readings(t); !equalSets(got, append(want, "redrive hall/weather/humidity 40")) {
			t.Errorf("readings are\n%s", strings.Join(got, "\n"))
		}
	})
}

// sparkMetric is a metric of Sparkplug B with an alias and a value of type Double; without
// a name as in data.
func sparkMetric(name string, alias uint64, bits uint64) (m []byte) {
	if name != "" {
		m = protowire.AppendString(protowire.AppendTag(m, 1, protowire.BytesType), name)
		m = protowire.AppendVarint(protowire.AppendTag(m, 4, protowire.VarintType), 10)
	}
	m = protowire.AppendVarint(protowire.AppendTag(m, 2, protowire.VarintType), alias)
	return protowire.AppendFixed64(protowire.AppendTag(m, 13, protowire.Fixed64Type), bits)
}

func sparkPayload(sequence uint64, metrics ...[]byte) (p []byte) {
	p = protowire.AppendVarint(protowire.AppendTag(p, 1, protowire.VarintType), uint64(time.Now().UnixMilli()))
	for _, m := range metrics {
		p = protowire.AppendBytes(protowire.AppendTag(p, 2, protowire.BytesType), m)
	}
	return protowire.AppendVarint(protowire.AppendTag(p, 3, protowire.VarintType), sequence)
}

// TestEdgeNodeIsAskedForItsBirths: data of an edge node that was born before the bridge
// began is a dead letter, the node is asked for its births, and the letter is readable
// then.
func TestEdgeNodeIsAskedForItsBirths(t *testing.T) {
	const twenty = 0x4034000000000000 // 20.0
	w := newWorld(t)
	w.start(t, func(_ *bridge.Config, d *bridge.Deps) { d.Devices = stream(t, w.Conn(t, natsd.UserDevices)) })
	c := w.device(t, "edge")
	asked := make(chan string, 1)
	token := c.Subscribe("spBv1.0/plant/NCMD/edge/#", 0, func(_ mqtt.Client, m mqtt.Message) { asked <- string(m.Payload()) })
	if !token.WaitTimeout(within) || token.Error() != nil {
		t.Fatalf("subscribe: %v", token.Error())
	}
	publish(t, c, 1, "spBv1.0/plant/NDATA/edge", string(sparkPayload(7, sparkMetric("", 4, twenty))))
	dead := w.deadLetters(t)
	if len(dead) != 1 || !strings.Contains(dead[0].Detail, "alias 4") {
		t.Fatalf("dead letters are %+v", dead)
	}
	select {
	case command := <-asked:
		if !strings.Contains(command, "Node Control/Rebirth") {
			t.Errorf("the command is %q", command)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the edge node is not asked")
	}
	publish(t, c, 1, "spBv1.0/plant/NBIRTH/edge", string(sparkPayload(0, sparkMetric("Boiler/Temperature", 4, twenty))))
	publish(t, c, 1, "spBv1.0/plant/NDATA/edge", string(sparkPayload(1, sparkMetric("", 4, twenty))))
	answer := w.redrive(t, 1)
	if got := outcomes(answer); !slices.Equal(got, []streams.Outcome{streams.OutcomeRedriven}) {
		t.Fatalf("the answer is %+v", answer)
	}
	want := []string{"mqtt plant/edge/Boiler_Temperature 20", "mqtt plant/edge/online true", "mqtt plant/edge/Boiler_Temperature 20", "redrive plant/edge/Boiler_Temperature 20"}
	if got := w.readings(t); !equalSets(got, want) {
		t.Errorf("readings are\n%s", strings.Join(got, "\n"))
	}
	// Nobody but the bridge sends such commands.
	publish(t, c, 1, "spBv1.0/plant/NCMD/edge", "x")
	publish(t, c, 1, "sensors/hall/d/m", "1")
	select {
	case command := <-asked:
		t.Errorf("the edge node obeys %q", command)
	default:
	}
}

// TestMappingFollowsTheConfiguration declares a mapping while the bridge runs. One message
// of it has readings of devices in several lanes, each of which is stored once.
func TestMappingFollowsTheConfiguration(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	store, err := configstore.Open(t.Context(), w.js)
	if err != nil {
		t.Fatal(err)
	}
	text := "rules: []\nmappings:\n  - {topic: 'plant/{line}', each: payload, site: plant, device: '{line}-{item.id}', metric: speed, value: item.v, unit: rpm}\n  - {topic: 'tele/#', site: flat}\n"
	if _, _, err := store.PutFile(t.Context(), "test.yaml", []byte(text)); err != nil {
		t.Fatal(err)
	}
	c := w.device(t, "gateway")
	streamtest.Eventually(t, "the mapping is in force", func() bool {
		publish(t, c, 1, "tele/plug/LWT", "Online")
		return slices.Contains(w.readings(t), "mqtt flat/plug/online true")
	})
	const n = 20
	var payload, want []string
	several := make(map[int]bool)
	for i := range n {
		payload = append(payload, fmt.Sprintf(`{"id":%d,"v":%d}`, i, i))
		want = append(want, fmt.Sprintf("plant/7-%d/speed %drpm", i, i))
		several[streams.Lane("plant", fmt.Sprintf("7-%d", i), lanes)] = true
	}
	if len(several) < 2 {
		t.Fatal("all devices are in one lane")
	}
	publish(t, c, 1, "plant/7", "["+strings.Join(payload, ",")+`,{"id":20},{"v":1}]`)
	var got []string
	for _, r := range w.readings(t) {
		if _, of, _ := strings.Cut(r, " "); strings.HasPrefix(of, "plant/") {
			got = append(got, of)
		}
	}
	if !equalSets(got, want) {
		t.Errorf("readings are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	dead := slices.DeleteFunc(w.deadLetters(t), func(d streams.DeadLetter) bool { return d.Origin != "plant/7" })
	if len(dead) != 1 || !strings.Contains(dead[0].Detail, "device") {
		t.Fatalf("dead letters are %+v", dead)
	}
	// What is stored is not stored again.
	sequence := uint64(0)
	for _, m := range stored(t, w.js, streams.StreamDeadLetters) {
		if letter, err := streams.ParseDeadLetterMsg(m.Subject, m.Header, m.Data); err == nil && letter.Origin == "plant/7" {
			sequence = m.Sequence
		}
	}
	if got := outcomes(w.redrive(t, sequence)); !slices.Equal(got, []streams.Outcome{streams.OutcomeRefused}) {
		t.Errorf("the redrive ends %v", got)
	}
	if again := w.redriven(t); len(again) != 0 {
		t.Errorf("%d batches are stored again", len(again))
	}
}

// TestCredentialCoversFormats has a device and a gateway with credentials publish in a
// format and on the topics of a mapping, and others in their names. Nats-server acknowledges
// what it drops.
func TestCredentialCoversFormats(t *testing.T) {
	w := newWorld(t)
	w.start(t, anonymous)
	store, err := configstore.Open(t.Context(), w.js)
	if err != nil {
		t.Fatal(err)
	}
	text := "rules: []\nmappings:\n  - {topic: 'mill/{machine}/{what}', site: plant, device: '{machine}', metric: '{what}'}\n"
	if _, _, err := store.PutFile(t.Context(), "test.yaml", []byte(text)); err != nil {
		t.Fatal(err)
	}
	probe := admitted(t, w.options("probe", "", ""))
	streamtest.Eventually(t, "the mapping is in force", func() bool {
		publish(t, probe, 1, "mill/probe/speed", "1")
		return slices.Contains(w.readings(t), "mqtt plant/probe/speed 1")
	})
	saw := w.credential(t, "saw", at("plant", "saw"))
	s := admitted(t, w.options("saw", "saw", saw))
	plug := w.credential(t, "plug", at("home", "plug"))
	gateway := w.credential(t, "gw", at("home", credentials.Any))
	elsewhere := w.credential(t, "hall-plug", at("hall", "plug-2"))
	p, g := admitted(t, w.options("plug", "plug", plug)), admitted(t, w.options("gw", "gw", gateway))
	e, plain := admitted(t, w.options("hall-plug", "hall-plug", elsewhere)), admitted(t, w.options("plain", "", ""))
	var want []string
	for i, test := range []struct {
		from          mqtt.Client
		topic, stored string
	}{
		{p, "tele/plug/POWER", "home/plug/POWER"},
		{p, "tele/lamp/POWER", ""},
		{p, "plug/sensor/power/state", "home/plug/power"},
		{p, "zigbee2mqtt/plug/power", "home/plug/power"},
		{g, "tele/lamp/POWER", "home/lamp/POWER"},
		{g, "zigbee2mqtt/hall/door/power", "home/hall_door/power"},
		{e, "tele/plug-2/POWER", ""},
		{plain, "tele/other/POWER", "home/other/POWER"},
		{plain, "tele/plug/POWER", ""},
		{plain, "zigbee2mqtt/plug/power", ""},
		{plain, "plug/sensor/power/state", ""},
		{s, "mill/saw/speed", "plant/saw/speed"},
		{s, "mill/drill/speed", ""},
		{plain, "mill/saw/speed", ""},
		{plain, "mill/drill/speed", "plant/drill/speed"},
	} {
		publish(t, test.from, 1, test.topic, fmt.Sprint(i))
		if test.stored != "" {
			want = append(want, "mqtt "+test.stored+" "+fmt.Sprint(i))
		}
	}
	var got []string
	for _, r := range w.readings(t) {
		if !strings.Contains(r, "plant/probe/") {
			got = append(got, strings.TrimRight(r, "W"))
		}
	}
	if !equalSets(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
