package qupath.lib.io

import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import java.util.zip.GZIPInputStream

/** Reads and writes rectangles only. */
class PathIO {
    enum GeoJsonExportOptions { PRETTY_JSON, EXCLUDE_MEASUREMENTS, FEATURE_COLLECTION }

    static List<Item> readObjects(File file) throws IOException {
        def raw = new FileInputStream(file)
        def stream = file.name.endsWith('.gz') ? new GZIPInputStream(raw) : raw
        def content = new JsonSlurper().parse(stream)
        content.features.collect {
            def ring = it.geometry.coordinates[0]
            def (x, y) = [ring.collect { it[0] }, ring.collect { it[1] }]
            new Item(
                id: UUID.fromString(it.id), objectType: it.properties.objectType,
                pathClass: it.properties.classification?.name, name: it.properties.name,
                box: [x.min(), y.min(), x.max(), y.max()]
            )
        }
    }

    static void exportObjectsAsGeoJSON(
        File file, Collection<? extends Item> objects, GeoJsonExportOptions... options
    ) throws IOException {
        assert options.toList() == [GeoJsonExportOptions.FEATURE_COLLECTION]
        file.text = '{'  // QuPath opens the file first, so that an error leaves a part of it
        def features = objects.collect {
            def (left, top, right, bottom) = it.box
            def ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
            def properties = [objectType: it.objectType, name: it.name,
                              classification: [name: it.pathClass], metadata: it.metadata]
            [type: 'Feature', id: it.id.toString(), properties: properties,
             geometry: [type: 'Polygon', coordinates: [ring]]]
        }
        file.text = JsonOutput.toJson([type: 'FeatureCollection', features: features])
    }
}
