package main

import "fmt"

// writtenCase is a template that somebody thought of.
type writtenCase struct {
	name           string
	template       any
	collisionCount *int32
}

// writtenCases are templates as users write them, then one oddity each.
func writtenCases() []writtenCase {
	cases := []writtenCase{
		{name: "web service with probes and limits", template: webService},
		{name: "batch worker with sidecar, affinity and every projected source", template: worker},
		{name: "daemon with host access", template: daemon},
		{name: "defaulted by a cluster", template: defaulted},
		{name: "empty object", template: `{}`},
		{name: "null metadata and spec", template: `{"metadata":null,"spec":null}`},
		{name: "creation timestamp null", template: `{"metadata":{"creationTimestamp":null,"labels":{"app":"web"}},"spec":{"containers":[]}}`},
		{name: "creation timestamp set", template: `{"metadata":{"creationTimestamp":"2024-05-06T07:08:09+02:00"},"spec":{"containers":[]}}`},
		{name: "unknown fields everywhere", template: `{"kind":"x","metadata":{"labels":{"a":"b"},"color":"red"},"spec":{"containers":[{"name":"c","flavour":{"a":1}}],"$patch":"replace"},"status":{}}`},
		{name: "key order", template: `{"spec":{"containers":[{"image":"i","name":"c","env":[{"value":"1","name":"A"}]}]},"metadata":{"labels":{"b":"1","a":"2"}}}`},
		{name: "HTML in an argument", template: inContainer(`"args":["--query=a<b && c>d","<script>","&amp;"]`)},
		{name: "HTML in label keys and values", template: `{"metadata":{"annotations":{"<b>":"&","a&b":"<>"}},"spec":{"containers":[]}}`},
		{name: "line separators and controls", template: inContainer(`"command":["\u2028\u2029","\u0000\u0008\u000b\u000c\u001f\u007f","\t\r\n"]`)},
		{name: "unicode", template: inContainer(`"env":[{"name":"GREETING","value":"h\u00e9llo \u4e16\u754c \ud83d\udc24 \ufeff \ufffd"}]`)},
		{name: "quotes and backslashes", template: inContainer(`"args":["{\"a\":\"b\\\\c\"}","C:\\temp","/"]`)},
		{name: "environment value empty, missing, null", template: inContainer(`"env":[{"name":"A","value":""},{"name":"B"},{"name":"C","value":null}]`)},
		{name: "false and zero behind pointers", template: `{"spec":{"containers":[],"enableServiceLinks":false,"terminationGracePeriodSeconds":0,"securityContext":{"runAsNonRoot":false,"runAsUser":0,"fsGroup":0}}}`},
		{name: "false and zero by value", template: `{"spec":{"containers":[{"name":"c","stdin":false,"tty":false,"livenessProbe":{"periodSeconds":0,"initialDelaySeconds":0}}],"hostNetwork":false}}`},
		{name: "integers as floats", template: inContainer(`"ports":[{"containerPort":8080.0,"hostPort":1e3}]`)},
		{name: "largest integers", template: `{"spec":{"containers":[],"activeDeadlineSeconds":9223372036854775807,"terminationGracePeriodSeconds":-9223372036854775808,"priority":2147483647}}`},
		{name: "containers null", template: `{"spec":{"containers":null,"volumes":null}}`},
		{name: "null elements", template: `{"metadata":{"labels":{"a":null}},"spec":{"containers":[null],"tolerations":[null],"imagePullSecrets":[{"name":null}]}}`},
		{name: "field references", template: inContainer(`"env":[{"name":"A","valueFrom":{"resourceFieldRef":{"resource":"limits.cpu"}}},{"name":"B","valueFrom":{"resourceFieldRef":{"resource":"limits.memory","divisor":"1Mi","containerName":"c"}}},{"name":"C","valueFrom":{"fieldRef":{"fieldPath":"metadata.name","apiVersion":"v1"}}}]`)},
		{name: "optional references", template: inContainer(`"envFrom":[{"prefix":"A_","configMapRef":{"name":"c","optional":true}},{"secretRef":{"optional":false}},{}]`)},
		{name: "limits in many forms", template: inContainer(`"resources":{"limits":{"cpu":"1000m","memory":"1024Mi","ephemeral-storage":"1.5Gi","nvidia.com/gpu":1,"hugepages-2Mi":"0"},"requests":{"cpu":0.5,"memory":"128974848","ephemeral-storage":"129e6"}}`)},
		{name: "limits with white space", template: inContainer(`"resources":{"limits":{"cpu":" 1 ","memory":"\u00a01Gi"}}`)},
		{name: "limits null", template: inContainer(`"resources":{"limits":{"cpu":null},"requests":null,"claims":[{"name":"gpu","request":"r"}]}`)},
		{name: "numbers beyond integers as limits", template: inContainer(`"resources":{"limits":{"a":1e21,"b":1e-7,"c":18446744073709551616,"d":123456789.125,"e":-0.0}}`)},
		{name: "memory medium", template: `{"spec":{"containers":[],"volumes":[{"name":"tmp","emptyDir":{"medium":"Memory","sizeLimit":"500Mi"}},{"name":"e","emptyDir":{}},{"name":"n","emptyDir":null}]}}`},
		{name: "claim template", template: claimTemplate},
		{name: "managed fields", template: `{"metadata":{"managedFields":[{"manager":"kubectl","operation":"Apply","time":"2024-05-06T07:08:09.123Z","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:b":{},"f:a":{"k:{\"name\":\"<c>\"}":{}}}}},{"fieldsV1":{}},{"fieldsV1":null,"time":null}]},"spec":{"containers":[]}}`},
		{name: "owner and times", template: `{"metadata":{"deletionTimestamp":"0001-01-01T00:00:00Z","creationTimestamp":"0001-01-01T00:00:00Z","ownerReferences":[{"uid":"u","controller":false}],"finalizers":["f"]},"spec":{"containers":[]}}`},
	}
	for _, port := range []string{`80`, `"80"`, `"http"`, `0`, `""`, `null`, `"<&>"`} {
		probes := `"livenessProbe":{"httpGet":{"path":"/","port":` + port + `}},"readinessProbe":{"tcpSocket":{"port":` + port + `}}`
		cases = append(cases, writtenCase{name: "probe port " + port, template: inContainer(probes)})
	}
	for _, count := range []int32{0, 1, 2, 255, 256, 2147483647, -1} {
		name := fmt.Sprintf("collision count %d", count)
		cases = append(cases, writtenCase{name: name, template: webService, collisionCount: &count})
	}
	return cases
}

// inContainer is a template whose only container has the given fields.
func inContainer(fields string) string {
	return `{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c","image":"app:v1",` + fields + `}]}}`
}

const webService = `{
  "metadata": {"labels": {"app": "web", "app.kubernetes.io/version": "1.2.3"}, "annotations": {"prometheus.io/scrape": "true"}},
  "spec": {
    "serviceAccountName": "web",
    "containers": [{
      "name": "web", "image": "registry.example.com/web:1.2.3", "imagePullPolicy": "IfNotPresent",
      "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}, {"name": "metrics", "containerPort": 9090}],
      "env": [{"name": "LOG_LEVEL", "value": "info"}, {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "web", "key": "token"}}}],
      "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1024Mi"}},
      "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 10},
      "readinessProbe": {"httpGet": {"path": "/ready?full=1&deep=1", "port": 8080, "httpHeaders": [{"name": "X-Probe", "value": "1"}]}},
      "startupProbe": {"exec": {"command": ["sh", "-c", "test -f /tmp/ready && exit 0"]}, "failureThreshold": 30},
      "securityContext": {"runAsNonRoot": true, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
      "volumeMounts": [{"name": "config", "mountPath": "/etc/web", "readOnly": true}, {"name": "tmp", "mountPath": "/tmp"}]
    }],
    "volumes": [{"name": "config", "configMap": {"name": "web", "defaultMode": 420}}, {"name": "tmp", "emptyDir": {}}],
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"app": "web"}}}],
    "tolerations": [{"key": "spot", "operator": "Equal", "value": "true", "effect": "NoSchedule", "tolerationSeconds": 0}]
  }
}`

const worker = `{
  "metadata": {"labels": {"app": "worker"}},
  "spec": {
    "initContainers": [
      {"name": "migrate", "image": "worker:7", "command": ["migrate"], "args": ["--to=latest"], "workingDir": "/srv"},
      {"name": "proxy", "image": "proxy:2", "restartPolicy": "Always", "lifecycle": {"preStop": {"sleep": {"seconds": 5}}, "postStart": {"httpGet": {"port": 15020, "scheme": "HTTP"}}}}
    ],
    "containers": [{"name": "worker", "image": "worker:7", "stdin": true, "tty": true, "terminationMessagePolicy": "FallbackToLogsOnError",
      "livenessProbe": {"grpc": {"port": 9000}}, "readinessProbe": {"grpc": {"port": 9000, "service": ""}, "terminationGracePeriodSeconds": 5},
      "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}], "volumeDevices": [{"name": "disk", "devicePath": "/dev/xvda"}],
      "volumeMounts": [{"name": "all", "mountPath": "/all", "subPathExpr": "$(POD_NAME)", "mountPropagation": "HostToContainer", "recursiveReadOnly": "IfPossible"}]}],
    "volumes": [
      {"name": "all", "projected": {"defaultMode": 288, "sources": [
        {"secret": {"name": "s", "items": [{"key": "k", "path": "p", "mode": 256}]}}, {"configMap": {"name": "c", "optional": true}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}, {"path": "cpu", "resourceFieldRef": {"containerName": "worker", "resource": "limits.cpu", "divisor": "1m"}}]}},
        {"serviceAccountToken": {"audience": "vault", "expirationSeconds": 3607, "path": "token"}},
        {"clusterTrustBundle": {"signerName": "example.com/signer", "path": "ca.crt", "labelSelector": {"matchExpressions": [{"key": "live", "operator": "NotIn", "values": ["no"]}]}}}]}},
      {"name": "disk", "persistentVolumeClaim": {"claimName": "disk", "readOnly": false}}, {"name": "csi", "csi": {"driver": "d", "volumeAttributes": {"b": "2", "a": "1"}, "nodePublishSecretRef": {}}},
      {"name": "image", "image": {"reference": "models:1", "pullPolicy": "Always"}}, {"name": "nfs", "nfs": {"server": "s", "path": "/"}}],
    "affinity": {
      "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "arch", "operator": "In", "values": ["arm64", "amd64"]}], "matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": []}]}]}},
      "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 50, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "cache"}}, "namespaces": ["a", "b"]}}]},
      "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone", "labelSelector": {}, "namespaceSelector": {}, "matchLabelKeys": ["x"]}]}},
    "dnsConfig": {"nameservers": ["10.0.0.10"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}, "readinessGates": [{"conditionType": "example.com/ready"}],
    "overhead": {"cpu": "0.25", "memory": "64Mi"}, "os": {"name": "linux"}, "schedulingGates": [{"name": "wait"}], "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "gpu"}], "setHostnameAsFQDN": false
  }
}`

const daemon = `{
  "metadata": {"labels": {"app": "agent"}},
  "spec": {
    "hostNetwork": true, "hostPID": true, "dnsPolicy": "ClusterFirstWithHostNet", "nodeSelector": {"kubernetes.io/os": "linux"}, "priorityClassName": "system-node-critical",
    "hostAliases": [{"ip": "127.0.0.1", "hostnames": ["agent.local"]}],
    "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}, "sysctls": [{"name": "net.core.somaxconn", "value": "1024"}], "supplementalGroups": [1, 2], "seLinuxOptions": {"level": "s0:c1,c2"}, "appArmorProfile": {"type": "Unconfined"}},
    "containers": [{"name": "agent", "image": "agent", "ports": [{"containerPort": 80, "hostPort": 80, "hostIP": "0.0.0.0"}],
      "securityContext": {"privileged": true, "procMount": "Default", "capabilities": {"add": ["NET_ADMIN"], "drop": []}, "windowsOptions": {"hostProcess": false}},
      "volumeMounts": [{"name": "root", "mountPath": "/host", "mountPropagation": "Bidirectional"}]}],
    "volumes": [{"name": "root", "hostPath": {"path": "/", "type": ""}}, {"name": "sock", "hostPath": {"path": "/run/x.sock", "type": "Socket"}}],
    "tolerations": [{"operator": "Exists"}, {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
    "ephemeralContainers": [{"name": "debug", "image": "busybox", "targetContainerName": "agent", "stdin": true}]
  }
}`

const defaulted = `{
  "metadata": {"creationTimestamp": null, "labels": {"app": "r"}},
  "spec": {
    "containers": [{"image": "app:v1", "imagePullPolicy": "IfNotPresent", "name": "c", "resources": {}, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
    "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler", "securityContext": {}, "serviceAccount": "default", "serviceAccountName": "default", "terminationGracePeriodSeconds": 30
  }
}`

const claimTemplate = `{"spec": {"containers": [], "volumes": [{"name": "data", "ephemeral": {"volumeClaimTemplate": {
  "metadata": {"creationTimestamp": null, "labels": {"a": "b"}},
  "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "10240Mi"}}, "dataSource": {"kind": "Snapshot", "name": "s", "apiGroup": null}, "dataSourceRef": {"kind": "K", "name": "n", "namespace": "x"}}}}}]}}`
