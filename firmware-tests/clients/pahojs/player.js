// Plays clients of Eclipse Paho for JavaScript for tests, see process_test.go.
// The library is for browsers, so it is given a WebSocket.
const fs = require('node:fs')
const readline = require('node:readline')
const WebSocket = require('ws')

let ca // what the WebSocket trusts

global.WebSocket = class extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { ca })
  }
}
const Paho = require('paho-mqtt')

const say = (...fields) => process.stdout.write(fields.join('\t') + '\n')
const ok = () => { say('ok') } // the library would call a result
const failed = (err) => say('error', err.errorMessage)

let client
let disconnecting

const commands = {
  connect(url, version, id, persist, caFile, will, payload, qos, retain) {
    ca = fs.readFileSync(caFile)
    disconnecting = false
    client = new Paho.Client(url, id)
    client.onMessageArrived = (m) => say('message', m.destinationName, m.payloadString, m.qos, Number(m.retained), 0, '')
    client.onMessageDelivered = ok
    client.onConnectionLost = () => { if (disconnecting) ok() }
    const options = {
      mqttVersion: 4,
      cleanSession: persist === '0',
      onSuccess: ok, // session present is not told
      onFailure: failed,
    }
    if (will) options.willMessage = message(will, payload, qos, retain)
    client.connect(options)
  },

  subscribe(filter, qos) {
    client.subscribe(filter, { qos: Number(qos), onSuccess: ok, onFailure: failed })
  },

  publish(topic, payload, qos, retain) {
    client.send(message(topic, payload, qos, retain))
  },

  disconnect() {
    disconnecting = true
    client.disconnect()
  },
}

function message(topic, payload, qos, retain) {
  const m = new Paho.Message(payload)
  m.destinationName = topic
  m.qos = Number(qos)
  m.retained = retain === '1'
  return m
}

readline.createInterface({ input: process.stdin })
  .on('line', (line) => {
    const [command, ...fields] = line.split('\t')
    try {
      commands[command](...fields)
    } catch (err) {
      say('error', err.message)
    }
  })
  .on('close', () => process.exit())
