package decode_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/services/decode"
)

// lines writes items as people read them: one line for each reading or error.
func lines(items []decode.Item) []string {
	var out []string
	for _, item := range items {
		if item.Err != nil {
			out = append(out, "! "+item.Err.Reason+" "+item.Err.Error())
		}
		for _, r := range item.Readings {
			v := fmt.Sprint(r.Value)
			switch r.Kind {
			case decode.Flag:
				v = fmt.Sprint(r.Flag)
			case decode.Text:
				v = fmt.Sprintf("%q", r.Text)
			}
			line := item.Site + "/" + item.Device + " " + r.Metric + "=" + v
			if r.Unit != "" {
				line += " " + r.Unit
			}
			if r.HasTime {
				line += " @" + time.Unix(0, r.Time).UTC().Format("15:04:05.999")
			}
			out = append(out, line)
		}
	}
	return out
}

// device is a message as a model of a device sends it, retyped from its documentation or
// from what owners published, and what a person would expect of it.
type device struct {
	model, topic, payload string
	format                string
	want                  []string
}

// models are the messages that arrive at 2026-03-14T15:09:26Z.
var models = []device{
	{
		"Tasmota: Sonoff S31 plug", "tele/heater/SENSOR",
		`{"Time":"2026-03-14T16:09:25","ENERGY":{"TotalStartTime":"2019-01-29T07:29:40","Total":3.185,"Yesterday":3.058,"Today":0.127,"Power":132,"ApparentPower":141,"ReactivePower":50,"Factor":0.94,"Voltage":122,"Current":1.155}}`,
		"Tasmota",
		[]string{
			"home/heater ENERGY_Total=3.185 kWh @15:09:25", "home/heater ENERGY_Yesterday=3.058 kWh @15:09:25", "home/heater ENERGY_Today=0.127 kWh @15:09:25",
			"home/heater ENERGY_Power=132 W @15:09:25", "home/heater ENERGY_ApparentPower=141 VA @15:09:25", "home/heater ENERGY_ReactivePower=50 var @15:09:25",
			"home/heater ENERGY_Factor=0.94 @15:09:25", "home/heater ENERGY_Voltage=122 V @15:09:25", "home/heater ENERGY_Current=1.155 A @15:09:25",
		},
	},
	{
		"Tasmota: two-channel meter", "tele/dual/SENSOR", `{"Time":"2026-03-14T15:09:26","ENERGY":{"Power":[12,0],"Voltage":230}}`,
		"Tasmota",
		[]string{"home/dual ENERGY_Power_0=12 @15:09:26", "home/dual ENERGY_Power_1=0 @15:09:26", "home/dual ENERGY_Voltage=230 V @15:09:26"},
	},
	{
		"Tasmota: AM2301", "tele/cellar/SENSOR", `{"Time":"2026-03-14T15:09:20","AM2301":{"Temperature":24.6,"Humidity":58.2,"DewPoint":15.8},"TempUnit":"C"}`,
		"Tasmota",
		[]string{"home/cellar AM2301_Temperature=24.6 °C @15:09:20", "home/cellar AM2301_Humidity=58.2 % @15:09:20", "home/cellar AM2301_DewPoint=15.8 °C @15:09:20"},
	},
	{
		"Tasmota: BME280 in Fahrenheit", "tele/attic/SENSOR", `{"Time":"2026-03-14T10:09:26","BME280":{"Temperature":72.5,"Humidity":41.0,"Pressure":1013.9},"PressureUnit":"hPa","TempUnit":"F"}`,
		"Tasmota",
		[]string{"home/attic BME280_Temperature=72.5 °F @15:09:26", "home/attic BME280_Humidity=41 % @15:09:26", "home/attic BME280_Pressure=1013.9 hPa @15:09:26"},
	},
	{
		"Tasmota: two DS18B20", "tele/boiler/SENSOR", `{"Time":"2026-03-14T15:09:26","DS18B20-1":{"Id":"01131B123456","Temperature":21.5},"DS18B20-2":{"Id":"01131B654321","Temperature":63.1},"TempUnit":"C"}`,
		"Tasmota",
		[]string{
			`home/boiler DS18B20-1_Id="01131B123456" @15:09:26`, "home/boiler DS18B20-1_Temperature=21.5 °C @15:09:26",
			`home/boiler DS18B20-2_Id="01131B654321" @15:09:26`, "home/boiler DS18B20-2_Temperature=63.1 °C @15:09:26",
		},
	},
	{
		"Tasmota: state of a relay, clock never set", "tele/heater/STATE",
		`{"Time":"1970-01-01T00:00:12","Uptime":"0T00:00:15","UptimeSec":15,"Heap":27,"SleepMode":"Dynamic","Sleep":50,"LoadAvg":19,"POWER":"OFF","Wifi":{"AP":1,"SSId":"attic","BSSId":"B4:FB:E4:00:00:00","Channel":6,"RSSI":68,"Signal":-66,"LinkCount":1,"Downtime":"0T00:00:05"}}`,
		"Tasmota",
		[]string{
			"home/heater UptimeSec=15 s", "home/heater Heap=27 kB", "home/heater Sleep=50", "home/heater LoadAvg=19", "home/heater POWER=false",
			"home/heater Wifi_AP=1", "home/heater Wifi_Channel=6", "home/heater Wifi_RSSI=68 %", "home/heater Wifi_Signal=-66 dBm", "home/heater Wifi_LinkCount=1",
		},
	},
	{"Tasmota: last will", "tele/heater/LWT", "Offline", "Tasmota", []string{"home/heater online=false"}},
	{"Tasmota: relay", "stat/heater/POWER", "ON", "Tasmota", []string{"home/heater POWER=true"}},
	{"Tasmota: result", "stat/heater/RESULT", `{"POWER2":"OFF"}`, "Tasmota", []string{"home/heater POWER2=false"}},
	{"Tasmota: topic the other way round", "heater/tele/LWT", "Online", "Tasmota", []string{"home/heater online=true"}},
	{"Tasmota: several levels", "tele/flat/kitchen/plug/SENSOR", `{"Time":"2026-03-14T15:09:26","ANALOG":{"A0":512}}`, "Tasmota", []string{"home/flat_kitchen_plug ANALOG_A0=512 @15:09:26"}},
	{"Tasmota: status on request", "stat/cellar/STATUS10", `{"StatusSNS":{"Time":"2026-03-14T15:09:26","SI7021":{"Temperature":19.1,"Humidity":45.0},"TempUnit":"C"}}`, "Tasmota", []string{
		"home/cellar SI7021_Temperature=19.1 °C @15:09:26", "home/cellar SI7021_Humidity=45 % @15:09:26",
	}},
	{"Tasmota: about itself", "tele/heater/INFO1", `{"Info1":{"Module":"Sonoff S31","Version":"14.1.0"}}`, "Tasmota", nil},

	{
		"Zigbee2MQTT: Aqara WSDCGQ11LM", "zigbee2mqtt/bedroom climate", `{"battery":97,"humidity":48.62,"linkquality":120,"pressure":1003.1,"temperature":21.47,"voltage":2995,"last_seen":"2026-03-14T16:09:25+01:00"}`,
		"Zigbee2MQTT",
		[]string{
			"home/bedroom_climate battery=97 % @15:09:25", "home/bedroom_climate humidity=48.62 % @15:09:25", "home/bedroom_climate linkquality=120 @15:09:25",
			"home/bedroom_climate pressure=1003.1 hPa @15:09:25", "home/bedroom_climate temperature=21.47 °C @15:09:25", "home/bedroom_climate voltage=2995 @15:09:25",
		},
	},
	{
		"Zigbee2MQTT: Innr SP 240 plug with an update", "zigbee2mqtt/plug", `{"current":0.11,"energy":12.4,"linkquality":84,"power":23,"state":"ON","update":{"installed_version":268513381,"latest_version":268513381,"state":"idle"},"update_available":false,"voltage":231,"countdown":null}`,
		"Zigbee2MQTT",
		[]string{
			"home/plug current=0.11 A", "home/plug energy=12.4 kWh", "home/plug linkquality=84", "home/plug power=23 W", "home/plug state=true",
			"home/plug update_installed_version=2.68513381e+08", "home/plug update_latest_version=2.68513381e+08", `home/plug update_state="idle"`,
			"home/plug update_available=false", "home/plug voltage=231",
		},
	},
	{"Zigbee2MQTT: Aqara MCCGQ11LM door", "zigbee2mqtt/hall/door", `{"battery":100,"contact":false,"device_temperature":24,"linkquality":60,"power_outage_count":3,"voltage":3055}`, "Zigbee2MQTT", []string{
		"home/hall_door battery=100 %", "home/hall_door contact=false", "home/hall_door device_temperature=24 °C", "home/hall_door linkquality=60",
		"home/hall_door power_outage_count=3", "home/hall_door voltage=3055",
	}},
	{"Zigbee2MQTT: IKEA TRADFRI bulb", "zigbee2mqtt/lamp", `{"brightness":254,"color":{"x":0.4599,"y":0.4106},"color_mode":"color_temp","color_temp":370,"linkquality":98,"state":"OFF"}`, "Zigbee2MQTT", []string{
		"home/lamp brightness=254", "home/lamp color_x=0.4599", "home/lamp color_y=0.4106", `home/lamp color_mode="color_temp"`, "home/lamp color_temp=370",
		"home/lamp linkquality=98", "home/lamp state=false",
	}},
	{"Zigbee2MQTT: IKEA E1743 button", "zigbee2mqtt/button", `{"action":"on","battery":87,"linkquality":51}`, "Zigbee2MQTT", []string{
		"home/button action=true", "home/button battery=87 %", "home/button linkquality=51",
	}},
	{"Zigbee2MQTT: single attributes", "zigbee2mqtt/plug/temperature", "21.5", "Zigbee2MQTT", []string{"home/plug temperature=21.5 °C"}},
	{"Zigbee2MQTT: availability", "zigbee2mqtt/plug/availability", `{"state":"offline"}`, "Zigbee2MQTT", []string{"home/plug online=false"}},
	{"Zigbee2MQTT: availability of earlier versions", "zigbee2mqtt/plug/availability", "online", "Zigbee2MQTT", []string{"home/plug online=true"}},
	{"Zigbee2MQTT: bridge", "zigbee2mqtt/bridge/state", `{"state":"online"}`, "Zigbee2MQTT", []string{"home/zigbee2mqtt online=true"}},
	{"Zigbee2MQTT: list of devices", "zigbee2mqtt/bridge/devices", `[{"ieee_address":"0x00158d0001"}]`, "Zigbee2MQTT", nil},
	{"Zigbee2MQTT: command", "zigbee2mqtt/plug/set", `{"state":"ON"}`, "Zigbee2MQTT", nil},
	{"Zigbee2MQTT: another base topic", "zb/garden", `{"linkquality":33,"soil_moisture":18,"temperature":9.5}`, "Zigbee2MQTT", []string{
		"home/garden linkquality=33", "home/garden soil_moisture=18 %", "home/garden temperature=9.5 °C",
	}},

	{
		"Shelly Plus 1PM: notification", "shellyplus1pm-a8032abe54dc/events/rpc",
		`{"src":"shellyplus1pm-a8032abe54dc","dst":"shellyplus1pm-a8032abe54dc/events","method":"NotifyStatus","params":{"ts":1773500965.12,"switch:0":{"id":0,"aenergy":{"by_minute":[0.1,0.2,0.3],"minute_ts":1773500959,"total":11.679},"apower":8.9}}}`,
		"Shelly",
		[]string{
			"home/shellyplus1pm-a8032abe54dc switch_0_aenergy_total=11.679 Wh @15:09:25.12", "home/shellyplus1pm-a8032abe54dc switch_0_apower=8.9 W @15:09:25.12",
		},
	},
	{
		"Shelly Plus H&T: full status", "shellyplusht-08b61fcb7f3c/events/rpc",
		`{"src":"shellyplusht-08b61fcb7f3c","dst":"shellyplusht-08b61fcb7f3c/events","method":"NotifyFullStatus","params":{"ts":1773500966.0,"ble":{},"cloud":{"connected":false},"devicepower:0":{"id":0,"battery":{"V":5.26,"percent":69},"external":{"present":false}},"humidity:0":{"id":0,"rh":47.3},"mqtt":{"connected":true},"sys":{"mac":"08B61FCB7F3C","restart_required":false,"time":"16:09","unixtime":1773500966,"uptime":1,"ram_size":234000},"temperature:0":{"id":0,"tC":22.8,"tF":73.0},"wifi":{"sta_ip":"192.0.2.7","status":"got ip","ssid":"attic","rssi":-61},"ws":{"connected":false}}}`,
		"Shelly",
		[]string{
			"home/shellyplusht-08b61fcb7f3c devicepower_0_battery_V=5.26 V @15:09:26", "home/shellyplusht-08b61fcb7f3c devicepower_0_battery_percent=69 % @15:09:26",
			"home/shellyplusht-08b61fcb7f3c devicepower_0_external_present=false @15:09:26", "home/shellyplusht-08b61fcb7f3c humidity_0_rh=47.3 % @15:09:26",
			"home/shellyplusht-08b61fcb7f3c uptime=1 s @15:09:26", "home/shellyplusht-08b61fcb7f3c temperature_0_tC=22.8 °C @15:09:26", "home/shellyplusht-08b61fcb7f3c rssi=-61 dBm @15:09:26",
		},
	},
	{
		"Shelly Pro 3EM: status of a component", "meter/status/em:0",
		`{"id":0,"a_current":4.029,"a_voltage":236.1,"a_act_power":951.2,"total_act_power":2484.782,"errors":null}`,
		"Shelly",
		[]string{"home/meter em_0_a_current=4.029 A", "home/meter em_0_a_voltage=236.1 V", "home/meter em_0_a_act_power=951.2 W", "home/meter em_0_total_act_power=2484.782 W"},
	},
	{
		"Shelly Plus Plug S: status of a switch", "plug-s/status/switch:0",
		`{"id":0,"source":"init","output":true,"apower":42.1,"voltage":229.8,"current":0.2,"aenergy":{"total":5011.2,"by_minute":[1.1],"minute_ts":1773500940},"temperature":{"tC":38.2,"tF":100.8}}`,
		"Shelly",
		[]string{
			"home/plug-s switch_0_output=true", "home/plug-s switch_0_apower=42.1 W", "home/plug-s switch_0_voltage=229.8 V", "home/plug-s switch_0_current=0.2 A",
			"home/plug-s switch_0_aenergy_total=5011.2 Wh", "home/plug-s switch_0_temperature_tC=38.2 °C",
		},
	},
	{
		"Shelly Plus i4: button", "shellyplusi4-1/events/rpc", `{"src":"shellyplusi4-1","method":"NotifyEvent","params":{"ts":1773500966,"events":[{"component":"input:2","id":2,"event":"single_push","ts":1773500966}]}}`,
		"Shelly",
		[]string{`home/shellyplusi4-1 input_2_event="single_push" @15:09:26`},
	},
	{"Shelly Gen2: last will", "shellyplus1-1/online", "false", "Shelly", []string{"home/shellyplus1-1 online=false"}},
	{"Shelly 1PM of the first generation", "shellies/shelly1pm-B1E31A/relay/0/power", "61.52", "Shelly", []string{"home/shelly1pm-B1E31A relay_0_power=61.52 W"}},
	{"Shelly 1 of the first generation", "shellies/shelly1-B1E31A/relay/0", "on", "Shelly", []string{"home/shelly1-B1E31A relay_0=true"}},
}

func TestModels(t *testing.T) {
	d := decode.New(decode.DefaultLimits(), nil, nil)
	for _, test := range append(models, radios...) {
		t.Run(test.model, func(t *testing.T) {
			got, err := d.Message("", test.topic, []byte(test.payload), at(arrival))
			if err != nil {
				t.Fatal(err)
			}
			if got.Format != test.format {
				t.Errorf("taken by %q, want %q", got.Format, test.format)
			}
			if diff := cmp.Diff(test.want, lines(got.Items)); diff != "" {
				t.Errorf("readings (-want +got):\n%s", diff)
			}
			if (got.Nothing == "") != (len(test.want) > 0) {
				t.Errorf("nothing is %q", got.Nothing)
			}
		})
	}
	if len(models)+len(radios) < 30 {
		t.Errorf("%d models", len(models)+len(radios))
	}
}

// TestMessagesThatAreNotReadable: each says what is wrong, and keeps what is readable.
func TestMessagesThatAreNotReadable(t *testing.T) {
	d := decode.New(decode.DefaultLimits(), nil, nil)
	for _, test := range []struct {
		name, topic, payload string
		want                 []string
	}{
		{"a value that is none among good ones", "tele/a/SENSOR", `{"SHT3X":{"Temperature":"nan","Humidity":40}}`, []string{
			"home/a SHT3X_Humidity=40 %", "! value SHT3X.Temperature: nan is not a number that can be stored",
		}},
		{"two of them", "zigbee2mqtt/a", `{"x":1e999,"y":{"z":1e999},"linkquality":1}`, []string{
			"home/a linkquality=1", `! value x: the number "1e999" does not fit a 64-bit float; also not read: y.z`,
		}},
		{"a bare NaN", "zigbee2mqtt/a", `{"x":NaN,"linkquality":1}`, []string{"home/a linkquality=1", "! value x: NaN is not a number that can be stored"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := d.Message("", test.topic, []byte(test.payload), at(arrival))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, lines(got.Items)); diff != "" {
				t.Errorf("readings (-want +got):\n%s", diff)
			}
			if last := got.Items[len(got.Items)-1].Err; !last.Partial {
				t.Error("the error is not partial")
			}
		})
	}
	for _, test := range []struct{ topic, payload, want string }{
		{"tele/a/SENSOR", "{", "ends too early"},
		{"tele/a/LWT", "perhaps", "neither online nor offline"},
		{"tele/a/SENSOR", `{"Time":"2026-03-01T00:00:00","X":1}`, "no time zone"},
		{"a/events/rpc", "[]", "object of JSON"},
	} {
		if _, err := d.Message("", test.topic, []byte(test.payload), at(arrival)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %s: %v, want %q", test.topic, test.payload, err, test.want)
		}
	}
	for _, topic := range []string{"weather/today", "sensors/a/b/c/d", "", "/", "a", strings.Repeat("a/", 100)} {
		if got, err := d.Message("", topic, []byte("21.5"), at(arrival)); got.Format != "" || err != nil {
			t.Errorf("%q is taken by %q, %v", topic, got.Format, err)
		}
	}
	if !slices.ContainsFunc(decode.Formats(), func(f decode.Format) bool { return f.Name == "Tasmota" }) {
		t.Error("Tasmota is not in the table")
	}
}
