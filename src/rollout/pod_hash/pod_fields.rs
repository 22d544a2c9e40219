//! The layouts of a pod template and all that it contains, in the notation of `super::layout`.
//!
//! Generated from the Go types of k8s.io/api v0.34. After an update of `tests/pod_hash/go.mod`, write it anew there
//! with `go run . fields > ../../src/rollout/pod_hash/pod_fields.rs`.

use super::layout::{Field, Kind, Layout, Presence, layouts};

layouts! {
    POD_TEMPLATE_SPEC { metadata: OBJECT_META!, spec: POD_SPEC! }
    OBJECT_META { name: Text?, generateName: Text?, namespace: Text?, selfLink: Text?, uid: Text?,
        resourceVersion: Text?, generation: Int?, creationTimestamp: Time?, deletionTimestamp: Time*,
        deletionGracePeriodSeconds: Int*, labels: {Text}?, annotations: {Text}?, ownerReferences: [OWNER_REFERENCE]?,
        finalizers: [Text]?, managedFields: [MANAGED_FIELDS_ENTRY]? }
    OWNER_REFERENCE { apiVersion: Text!, kind: Text!, name: Text!, uid: Text!, controller: Bool*,
        blockOwnerDeletion: Bool* }
    MANAGED_FIELDS_ENTRY { manager: Text?, operation: Text?, apiVersion: Text?, time: Time*, fieldsType: Text?,
        fieldsV1: Raw*, subresource: Text? }
    POD_SPEC { volumes: [VOLUME]?, initContainers: [CONTAINER]?, containers: [CONTAINER]!,
        ephemeralContainers: [EPHEMERAL_CONTAINER]?, restartPolicy: Text?, terminationGracePeriodSeconds: Int*,
        activeDeadlineSeconds: Int*, dnsPolicy: Text?, nodeSelector: {Text}?, serviceAccountName: Text?,
        serviceAccount: Text?, automountServiceAccountToken: Bool*, nodeName: Text?, hostNetwork: Bool?,
        hostPID: Bool?, hostIPC: Bool?, shareProcessNamespace: Bool*, securityContext: POD_SECURITY_CONTEXT*,
        imagePullSecrets: [LOCAL_OBJECT_REFERENCE]?, hostname: Text?, subdomain: Text?, affinity: AFFINITY*,
        schedulerName: Text?, tolerations: [TOLERATION]?, hostAliases: [HOST_ALIAS]?, priorityClassName: Text?,
        priority: Int*, dnsConfig: POD_DNS_CONFIG*, readinessGates: [POD_READINESS_GATE]?, runtimeClassName: Text*,
        enableServiceLinks: Bool*, preemptionPolicy: Text*, overhead: {Quantity}?,
        topologySpreadConstraints: [TOPOLOGY_SPREAD_CONSTRAINT]?, setHostnameAsFQDN: Bool*, os: POD_OS*,
        hostUsers: Bool*, schedulingGates: [POD_SCHEDULING_GATE]?, resourceClaims: [POD_RESOURCE_CLAIM]?,
        resources: RESOURCE_REQUIREMENTS*, hostnameOverride: Text* }
    VOLUME { name: Text!, hostPath: HOST_PATH_VOLUME_SOURCE*, emptyDir: EMPTY_DIR_VOLUME_SOURCE*,
        gcePersistentDisk: GCE_PERSISTENT_DISK_VOLUME_SOURCE*,
        awsElasticBlockStore: AWS_ELASTIC_BLOCK_STORE_VOLUME_SOURCE*, gitRepo: GIT_REPO_VOLUME_SOURCE*,
        secret: SECRET_VOLUME_SOURCE*, nfs: NFS_VOLUME_SOURCE*, iscsi: ISCSI_VOLUME_SOURCE*,
        glusterfs: GLUSTERFS_VOLUME_SOURCE*, persistentVolumeClaim: PERSISTENT_VOLUME_CLAIM_VOLUME_SOURCE*,
        rbd: RBD_VOLUME_SOURCE*, flexVolume: FLEX_VOLUME_SOURCE*, cinder: CINDER_VOLUME_SOURCE*,
        cephfs: CEPH_FS_VOLUME_SOURCE*, flocker: FLOCKER_VOLUME_SOURCE*, downwardAPI: DOWNWARD_API_VOLUME_SOURCE*,
        fc: FC_VOLUME_SOURCE*, azureFile: AZURE_FILE_VOLUME_SOURCE*, configMap: CONFIG_MAP_VOLUME_SOURCE*,
        vsphereVolume: VSPHERE_VIRTUAL_DISK_VOLUME_SOURCE*, quobyte: QUOBYTE_VOLUME_SOURCE*,
        azureDisk: AZURE_DISK_VOLUME_SOURCE*, photonPersistentDisk: PHOTON_PERSISTENT_DISK_VOLUME_SOURCE*,
        projected: PROJECTED_VOLUME_SOURCE*, portworxVolume: PORTWORX_VOLUME_SOURCE*,
        scaleIO: SCALE_IO_VOLUME_SOURCE*, storageos: STORAGE_OS_VOLUME_SOURCE*, csi: CSI_VOLUME_SOURCE*,
        ephemeral: EPHEMERAL_VOLUME_SOURCE*, image: IMAGE_VOLUME_SOURCE* }
    HOST_PATH_VOLUME_SOURCE { path: Text!, type: Text* }
    EMPTY_DIR_VOLUME_SOURCE { medium: Text?, sizeLimit: Quantity* }
    GCE_PERSISTENT_DISK_VOLUME_SOURCE { pdName: Text!, fsType: Text?, partition: Int?, readOnly: Bool? }
    AWS_ELASTIC_BLOCK_STORE_VOLUME_SOURCE { volumeID: Text!, fsType: Text?, partition: Int?, readOnly: Bool? }
    GIT_REPO_VOLUME_SOURCE { repository: Text!, revision: Text?, directory: Text? }
    SECRET_VOLUME_SOURCE { secretName: Text?, items: [KEY_TO_PATH]?, defaultMode: Int*, optional: Bool* }
    KEY_TO_PATH { key: Text!, path: Text!, mode: Int* }
    NFS_VOLUME_SOURCE { server: Text!, path: Text!, readOnly: Bool? }
    ISCSI_VOLUME_SOURCE { targetPortal: Text!, iqn: Text!, lun: Int!, iscsiInterface: Text?, fsType: Text?,
        readOnly: Bool?, portals: [Text]?, chapAuthDiscovery: Bool?, chapAuthSession: Bool?,
        secretRef: LOCAL_OBJECT_REFERENCE*, initiatorName: Text* }
    LOCAL_OBJECT_REFERENCE { name: Text? }
    GLUSTERFS_VOLUME_SOURCE { endpoints: Text!, path: Text!, readOnly: Bool? }
    PERSISTENT_VOLUME_CLAIM_VOLUME_SOURCE { claimName: Text!, readOnly: Bool? }
    RBD_VOLUME_SOURCE { monitors: [Text]!, image: Text!, fsType: Text?, pool: Text?, user: Text?, keyring: Text?,
        secretRef: LOCAL_OBJECT_REFERENCE*, readOnly: Bool? }
    FLEX_VOLUME_SOURCE { driver: Text!, fsType: Text?, secretRef: LOCAL_OBJECT_REFERENCE*, readOnly: Bool?,
        options: {Text}? }
    CINDER_VOLUME_SOURCE { volumeID: Text!, fsType: Text?, readOnly: Bool?, secretRef: LOCAL_OBJECT_REFERENCE* }
    CEPH_FS_VOLUME_SOURCE { monitors: [Text]!, path: Text?, user: Text?, secretFile: Text?,
        secretRef: LOCAL_OBJECT_REFERENCE*, readOnly: Bool? }
    FLOCKER_VOLUME_SOURCE { datasetName: Text?, datasetUUID: Text? }
    DOWNWARD_API_VOLUME_SOURCE { items: [DOWNWARD_API_VOLUME_FILE]?, defaultMode: Int* }
    DOWNWARD_API_VOLUME_FILE { path: Text!, fieldRef: OBJECT_FIELD_SELECTOR*,
        resourceFieldRef: RESOURCE_FIELD_SELECTOR*, mode: Int* }
    OBJECT_FIELD_SELECTOR { apiVersion: Text?, fieldPath: Text! }
    RESOURCE_FIELD_SELECTOR { containerName: Text?, resource: Text!, divisor: Quantity! }
    FC_VOLUME_SOURCE { targetWWNs: [Text]?, lun: Int*, fsType: Text?, readOnly: Bool?, wwids: [Text]? }
    AZURE_FILE_VOLUME_SOURCE { secretName: Text!, shareName: Text!, readOnly: Bool? }
    CONFIG_MAP_VOLUME_SOURCE { name: Text?, items: [KEY_TO_PATH]?, defaultMode: Int*, optional: Bool* }
    VSPHERE_VIRTUAL_DISK_VOLUME_SOURCE { volumePath: Text!, fsType: Text?, storagePolicyName: Text?,
        storagePolicyID: Text? }
    QUOBYTE_VOLUME_SOURCE { registry: Text!, volume: Text!, readOnly: Bool?, user: Text?, group: Text?, tenant: Text? }
    AZURE_DISK_VOLUME_SOURCE { diskName: Text!, diskURI: Text!, cachingMode: Text*, fsType: Text*, readOnly: Bool*,
        kind: Text* }
    PHOTON_PERSISTENT_DISK_VOLUME_SOURCE { pdID: Text!, fsType: Text? }
    PROJECTED_VOLUME_SOURCE { sources: [VOLUME_PROJECTION]!, defaultMode: Int* }
    VOLUME_PROJECTION { secret: SECRET_PROJECTION*, downwardAPI: DOWNWARD_API_PROJECTION*,
        configMap: CONFIG_MAP_PROJECTION*, serviceAccountToken: SERVICE_ACCOUNT_TOKEN_PROJECTION*,
        clusterTrustBundle: CLUSTER_TRUST_BUNDLE_PROJECTION*, podCertificate: POD_CERTIFICATE_PROJECTION* }
    SECRET_PROJECTION { name: Text?, items: [KEY_TO_PATH]?, optional: Bool* }
    DOWNWARD_API_PROJECTION { items: [DOWNWARD_API_VOLUME_FILE]? }
    CONFIG_MAP_PROJECTION { name: Text?, items: [KEY_TO_PATH]?, optional: Bool* }
    SERVICE_ACCOUNT_TOKEN_PROJECTION { audience: Text?, expirationSeconds: Int*, path: Text! }
    CLUSTER_TRUST_BUNDLE_PROJECTION { name: Text*, signerName: Text*, labelSelector: LABEL_SELECTOR*, optional: Bool*,
        path: Text! }
    LABEL_SELECTOR { matchLabels: {Text}?, matchExpressions: [LABEL_SELECTOR_REQUIREMENT]? }
    LABEL_SELECTOR_REQUIREMENT { key: Text!, operator: Text!, values: [Text]? }
    POD_CERTIFICATE_PROJECTION { signerName: Text?, keyType: Text?, maxExpirationSeconds: Int*,
        credentialBundlePath: Text?, keyPath: Text?, certificateChainPath: Text? }
    PORTWORX_VOLUME_SOURCE { volumeID: Text!, fsType: Text?, readOnly: Bool? }
    SCALE_IO_VOLUME_SOURCE { gateway: Text!, system: Text!, secretRef: LOCAL_OBJECT_REFERENCE~, sslEnabled: Bool?,
        protectionDomain: Text?, storagePool: Text?, storageMode: Text?, volumeName: Text?, fsType: Text?,
        readOnly: Bool? }
    STORAGE_OS_VOLUME_SOURCE { volumeName: Text?, volumeNamespace: Text?, fsType: Text?, readOnly: Bool?,
        secretRef: LOCAL_OBJECT_REFERENCE* }
    CSI_VOLUME_SOURCE { driver: Text!, readOnly: Bool*, fsType: Text*, volumeAttributes: {Text}?,
        nodePublishSecretRef: LOCAL_OBJECT_REFERENCE* }
    EPHEMERAL_VOLUME_SOURCE { volumeClaimTemplate: PERSISTENT_VOLUME_CLAIM_TEMPLATE* }
    PERSISTENT_VOLUME_CLAIM_TEMPLATE { metadata: OBJECT_META!, spec: PERSISTENT_VOLUME_CLAIM_SPEC! }
    PERSISTENT_VOLUME_CLAIM_SPEC { accessModes: [Text]?, selector: LABEL_SELECTOR*,
        resources: VOLUME_RESOURCE_REQUIREMENTS!, volumeName: Text?, storageClassName: Text*, volumeMode: Text*,
        dataSource: TYPED_LOCAL_OBJECT_REFERENCE*, dataSourceRef: TYPED_OBJECT_REFERENCE*,
        volumeAttributesClassName: Text* }
    VOLUME_RESOURCE_REQUIREMENTS { limits: {Quantity}?, requests: {Quantity}? }
    TYPED_LOCAL_OBJECT_REFERENCE { apiGroup: Text~, kind: Text!, name: Text! }
    TYPED_OBJECT_REFERENCE { apiGroup: Text~, kind: Text!, name: Text!, namespace: Text* }
    IMAGE_VOLUME_SOURCE { reference: Text?, pullPolicy: Text? }
    CONTAINER { name: Text!, image: Text?, command: [Text]?, args: [Text]?, workingDir: Text?,
        ports: [CONTAINER_PORT]?, envFrom: [ENV_FROM_SOURCE]?, env: [ENV_VAR]?, resources: RESOURCE_REQUIREMENTS!,
        resizePolicy: [CONTAINER_RESIZE_POLICY]?, restartPolicy: Text*, restartPolicyRules: [CONTAINER_RESTART_RULE]?,
        volumeMounts: [VOLUME_MOUNT]?, volumeDevices: [VOLUME_DEVICE]?, livenessProbe: PROBE*, readinessProbe: PROBE*,
        startupProbe: PROBE*, lifecycle: LIFECYCLE*, terminationMessagePath: Text?, terminationMessagePolicy: Text?,
        imagePullPolicy: Text?, securityContext: SECURITY_CONTEXT*, stdin: Bool?, stdinOnce: Bool?, tty: Bool? }
    CONTAINER_PORT { name: Text?, hostPort: Int?, containerPort: Int!, protocol: Text?, hostIP: Text? }
    ENV_FROM_SOURCE { prefix: Text?, configMapRef: CONFIG_MAP_ENV_SOURCE*, secretRef: SECRET_ENV_SOURCE* }
    CONFIG_MAP_ENV_SOURCE { name: Text?, optional: Bool* }
    SECRET_ENV_SOURCE { name: Text?, optional: Bool* }
    ENV_VAR { name: Text!, value: Text?, valueFrom: ENV_VAR_SOURCE* }
    ENV_VAR_SOURCE { fieldRef: OBJECT_FIELD_SELECTOR*, resourceFieldRef: RESOURCE_FIELD_SELECTOR*,
        configMapKeyRef: CONFIG_MAP_KEY_SELECTOR*, secretKeyRef: SECRET_KEY_SELECTOR*, fileKeyRef: FILE_KEY_SELECTOR* }
    CONFIG_MAP_KEY_SELECTOR { name: Text?, key: Text!, optional: Bool* }
    SECRET_KEY_SELECTOR { name: Text?, key: Text!, optional: Bool* }
    FILE_KEY_SELECTOR { volumeName: Text!, path: Text!, key: Text!, optional: Bool* }
    RESOURCE_REQUIREMENTS { limits: {Quantity}?, requests: {Quantity}?, claims: [RESOURCE_CLAIM]? }
    RESOURCE_CLAIM { name: Text!, request: Text? }
    CONTAINER_RESIZE_POLICY { resourceName: Text!, restartPolicy: Text! }
    CONTAINER_RESTART_RULE { action: Text?, exitCodes: CONTAINER_RESTART_RULE_ON_EXIT_CODES* }
    CONTAINER_RESTART_RULE_ON_EXIT_CODES { operator: Text?, values: [Int]? }
    VOLUME_MOUNT { name: Text!, readOnly: Bool?, recursiveReadOnly: Text*, mountPath: Text!, subPath: Text?,
        mountPropagation: Text*, subPathExpr: Text? }
    VOLUME_DEVICE { name: Text!, devicePath: Text! }
    PROBE { exec: EXEC_ACTION*, httpGet: HTTP_GET_ACTION*, tcpSocket: TCP_SOCKET_ACTION*, grpc: GRPC_ACTION*,
        initialDelaySeconds: Int?, timeoutSeconds: Int?, periodSeconds: Int?, successThreshold: Int?,
        failureThreshold: Int?, terminationGracePeriodSeconds: Int* }
    EXEC_ACTION { command: [Text]? }
    HTTP_GET_ACTION { path: Text?, port: IntOrString!, host: Text?, scheme: Text?, httpHeaders: [HTTP_HEADER]? }
    HTTP_HEADER { name: Text!, value: Text! }
    TCP_SOCKET_ACTION { port: IntOrString!, host: Text? }
    GRPC_ACTION { port: Int!, service: Text~ }
    LIFECYCLE { postStart: LIFECYCLE_HANDLER*, preStop: LIFECYCLE_HANDLER*, stopSignal: Text* }
    LIFECYCLE_HANDLER { exec: EXEC_ACTION*, httpGet: HTTP_GET_ACTION*, tcpSocket: TCP_SOCKET_ACTION*,
        sleep: SLEEP_ACTION* }
    SLEEP_ACTION { seconds: Int! }
    SECURITY_CONTEXT { capabilities: CAPABILITIES*, privileged: Bool*, seLinuxOptions: SE_LINUX_OPTIONS*,
        windowsOptions: WINDOWS_SECURITY_CONTEXT_OPTIONS*, runAsUser: Int*, runAsGroup: Int*, runAsNonRoot: Bool*,
        readOnlyRootFilesystem: Bool*, allowPrivilegeEscalation: Bool*, procMount: Text*,
        seccompProfile: SECCOMP_PROFILE*, appArmorProfile: APP_ARMOR_PROFILE* }
    CAPABILITIES { add: [Text]?, drop: [Text]? }
    SE_LINUX_OPTIONS { user: Text?, role: Text?, type: Text?, level: Text? }
    WINDOWS_SECURITY_CONTEXT_OPTIONS { gmsaCredentialSpecName: Text*, gmsaCredentialSpec: Text*, runAsUserName: Text*,
        hostProcess: Bool* }
    SECCOMP_PROFILE { type: Text!, localhostProfile: Text* }
    APP_ARMOR_PROFILE { type: Text!, localhostProfile: Text* }
    EPHEMERAL_CONTAINER { name: Text!, image: Text?, command: [Text]?, args: [Text]?, workingDir: Text?,
        ports: [CONTAINER_PORT]?, envFrom: [ENV_FROM_SOURCE]?, env: [ENV_VAR]?, resources: RESOURCE_REQUIREMENTS!,
        resizePolicy: [CONTAINER_RESIZE_POLICY]?, restartPolicy: Text*, restartPolicyRules: [CONTAINER_RESTART_RULE]?,
        volumeMounts: [VOLUME_MOUNT]?, volumeDevices: [VOLUME_DEVICE]?, livenessProbe: PROBE*, readinessProbe: PROBE*,
        startupProbe: PROBE*, lifecycle: LIFECYCLE*, terminationMessagePath: Text?, terminationMessagePolicy: Text?,
        imagePullPolicy: Text?, securityContext: SECURITY_CONTEXT*, stdin: Bool?, stdinOnce: Bool?, tty: Bool?,
        targetContainerName: Text? }
    POD_SECURITY_CONTEXT { seLinuxOptions: SE_LINUX_OPTIONS*, windowsOptions: WINDOWS_SECURITY_CONTEXT_OPTIONS*,
        runAsUser: Int*, runAsGroup: Int*, runAsNonRoot: Bool*, supplementalGroups: [Int]?,
        supplementalGroupsPolicy: Text*, fsGroup: Int*, sysctls: [SYSCTL]?, fsGroupChangePolicy: Text*,
        seccompProfile: SECCOMP_PROFILE*, appArmorProfile: APP_ARMOR_PROFILE*, seLinuxChangePolicy: Text* }
    SYSCTL { name: Text!, value: Text! }
    AFFINITY { nodeAffinity: NODE_AFFINITY*, podAffinity: POD_AFFINITY*, podAntiAffinity: POD_ANTI_AFFINITY* }
    NODE_AFFINITY { requiredDuringSchedulingIgnoredDuringExecution: NODE_SELECTOR*,
        preferredDuringSchedulingIgnoredDuringExecution: [PREFERRED_SCHEDULING_TERM]? }
    NODE_SELECTOR { nodeSelectorTerms: [NODE_SELECTOR_TERM]! }
    NODE_SELECTOR_TERM { matchExpressions: [NODE_SELECTOR_REQUIREMENT]?, matchFields: [NODE_SELECTOR_REQUIREMENT]? }
    NODE_SELECTOR_REQUIREMENT { key: Text!, operator: Text!, values: [Text]? }
    PREFERRED_SCHEDULING_TERM { weight: Int!, preference: NODE_SELECTOR_TERM! }
    POD_AFFINITY { requiredDuringSchedulingIgnoredDuringExecution: [POD_AFFINITY_TERM]?,
        preferredDuringSchedulingIgnoredDuringExecution: [WEIGHTED_POD_AFFINITY_TERM]? }
    POD_AFFINITY_TERM { labelSelector: LABEL_SELECTOR*, namespaces: [Text]?, topologyKey: Text!,
        namespaceSelector: LABEL_SELECTOR*, matchLabelKeys: [Text]?, mismatchLabelKeys: [Text]? }
    WEIGHTED_POD_AFFINITY_TERM { weight: Int!, podAffinityTerm: POD_AFFINITY_TERM! }
    POD_ANTI_AFFINITY { requiredDuringSchedulingIgnoredDuringExecution: [POD_AFFINITY_TERM]?,
        preferredDuringSchedulingIgnoredDuringExecution: [WEIGHTED_POD_AFFINITY_TERM]? }
    TOLERATION { key: Text?, operator: Text?, value: Text?, effect: Text?, tolerationSeconds: Int* }
    HOST_ALIAS { ip: Text!, hostnames: [Text]? }
    POD_DNS_CONFIG { nameservers: [Text]?, searches: [Text]?, options: [POD_DNS_CONFIG_OPTION]? }
    POD_DNS_CONFIG_OPTION { name: Text?, value: Text* }
    POD_READINESS_GATE { conditionType: Text! }
    TOPOLOGY_SPREAD_CONSTRAINT { maxSkew: Int!, topologyKey: Text!, whenUnsatisfiable: Text!,
        labelSelector: LABEL_SELECTOR*, minDomains: Int*, nodeAffinityPolicy: Text*, nodeTaintsPolicy: Text*,
        matchLabelKeys: [Text]? }
    POD_OS { name: Text! }
    POD_SCHEDULING_GATE { name: Text! }
    POD_RESOURCE_CLAIM { name: Text!, resourceClaimName: Text*, resourceClaimTemplateName: Text* }
}
