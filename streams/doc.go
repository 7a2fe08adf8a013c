// Package streams is the map of Headwater: every subject, stream, bucket and durable
// consumer, how to create them and how to check that they are there. Subjects are spelled
// out only here; services build and parse them with the functions of this package.
//
//	stream        subjects                      written by           read by
//	$MQTT_msgs    $MQTT.msgs.commands.>         nats-server          devices
//	TELEMETRY     telemetry.<lane>.<source>     bridge, gateway,     processor, writer, functions,
//	                                            functions            dashboard
//	DERIVED       derived.<lane>                processor            notifier, writer, dashboard,
//	                                                                 functions
//	ALERTING      alerting.<lane>               notifier             senders, dashboard, functions
//	              deliveries.<channel>          senders              dashboard
//	DEADLETTERS   deadletters.<service>.<reason> all                 people
//	AUDIT         audit.<service>               bridge, gateway,     dashboard
//	                                            dashboard, provision
//
// Nats-server also publishes the messages of devices with QoS 1 and 2 to $MQTT.msgs.>. The
// bridge stores them in TELEMETRY and then answers them.
//
// Beside the streams, redrive.<service> takes requests to process dead letters again; the
// bridge answers them. And work.<function> takes requests to the workers of a function, and
// call.<function> the HTTP requests that trigger one.
//
// $MQTT_msgs is in the account of the devices, all others in the account of the services,
// which no device can reach.
//
// TELEMETRY, DERIVED and ALERTING refuse new messages when they are full. Only the Janitor
// removes old messages, and never any that a lane, a writer or the notifier still needs.
// DEADLETTERS drops its oldest messages. AUDIT keeps a year; nobody can delete from it.
package streams
